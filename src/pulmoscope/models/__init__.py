"""Networks and losses: needed to train, never to diagnose."""
