"""The official SYSU-MM01 evaluation: its files of features, and its metrics computed from them."""
