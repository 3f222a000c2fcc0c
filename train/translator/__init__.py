"""Training of the learned visible-to-infrared translator, which is no part of the re-identification model."""
