"""Photos found, decoded, and followed back from network inputs. Needs neither mmpretrain nor mmcv."""
