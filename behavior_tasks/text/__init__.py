"""Examples become texts, and texts become token ids: a shopper's history in words that a language model reads."""
