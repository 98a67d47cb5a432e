SELECT key FROM erasure
