"""The main flows: diagnose, evaluate, audit."""
