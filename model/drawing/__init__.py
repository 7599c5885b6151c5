"""The architecture as a drawing: SVG, Mermaid."""
