"""Does a model look at the lungs, and can it be trusted at another hospital? One module a part of the audit."""
