"""The tabs of the page: the components and events of each."""
