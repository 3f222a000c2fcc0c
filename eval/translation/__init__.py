"""What translated and drawn infrared images are measured by, one file each, and the two commands that do it."""
