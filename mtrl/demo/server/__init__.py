"""The web server of the page: request filter, connections, uploads and their deletion."""
