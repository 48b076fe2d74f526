"""Lungs and lesions: where they are."""
