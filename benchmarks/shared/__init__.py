"""What benchmarks share: interleaved repeats, results, the machine, and what is measured."""
