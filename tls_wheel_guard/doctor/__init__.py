"""Why an import fails for static TLS, and what helps now.

``recording``: a child imports, and notes each dlopen. ``replay`` tells the loader's model the same and compares. ``observed``: both
together. ``advice`` searches, by simulation, for what would have let it succeed. ``runner`` runs it again under changed settings.
``remedies`` says what helps, ``diagnosis`` is the recipe. ``replay`` and ``advice`` are pure.
"""
