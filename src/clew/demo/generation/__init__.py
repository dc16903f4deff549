"""An answer made of passages: cache, prompt, model."""
