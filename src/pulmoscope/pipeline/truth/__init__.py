"""The density measure held to masks of lungs and lesions that others have drawn."""
