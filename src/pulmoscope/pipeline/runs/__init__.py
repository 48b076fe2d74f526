"""A run of ``diagnose`` in its parts, which one machine and many machines share: settings, one study, the end."""
