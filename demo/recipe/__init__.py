"""The training recipe of the embedded demo: data, model, tokenizer and adapters."""
