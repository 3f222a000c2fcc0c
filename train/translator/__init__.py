"""Training of the learned visible-to-infrared translator; it is no part of the re-identification model."""
