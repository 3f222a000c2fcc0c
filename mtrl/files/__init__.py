"""Files on the disk: which images a folder holds, and how their names are written."""
