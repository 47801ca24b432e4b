"""Real servers without Docker and without root, and the demo that runs on them."""
