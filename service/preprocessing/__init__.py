"""From untrusted bytes to the network's input."""
