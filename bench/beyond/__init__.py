"""What lies beyond plain Python: prototypes of the two hot loops, outside the package. See bench/BEYOND.md."""
