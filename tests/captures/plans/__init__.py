"""One module for each driver, named like it with ``_`` for ``-``; its ``plans()`` are the captures to make."""
