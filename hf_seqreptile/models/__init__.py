"""Loading models, and the encoder that installs without the Hub; imports nothing but the files at the top."""
