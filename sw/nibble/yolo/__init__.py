"""Between pictures and networks: letterbox, decoders, NMS, drawing. Decoding needs numpy alone."""
