"""Reading and writing weights of this project and of others.

``addresses.read_address`` reads whatever an address names, with ``checkpoint_files.read_checkpoint`` for one file;
``vit_layouts.read_vit`` gives the encoder in it timm's names, whatever its layout. All else builds on these.
"""
