"""The architecture as a picture: SVG, Mermaid."""
