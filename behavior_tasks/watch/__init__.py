"""The watch: what was served and what then happened in; whether the champion is still right out."""
