"""The re-identification network: configuration, parts, saving and loading, model card, export."""
