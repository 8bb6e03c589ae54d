"""What a person runs: distil on own images, the demo, captions of photographs."""
