"""A service over HTTP: encode images, search a gallery, add to it and delete from it."""
