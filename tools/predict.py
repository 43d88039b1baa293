"""Classify images: python tools/predict.py CONFIG CHECKPOINT IMAGE_OR_FOLDER [IMAGE_OR_FOLDER ...]."""

import argparse

from command_line import run
from mmengine.config import DictAction


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description='Classify images, and say where the model looked')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint: path or URL')
    parser.add_argument('images', nargs='+', help='image files, and folders of them')
    parser.add_argument('--out', help='JSON file for the results, similarity maps among them')
    parser.add_argument('--batch-size', type=int, default=16, help='images per pass; default: 16')
    parser.add_argument('--device', help='for example cpu or cuda:1; default: the GPU if there is one')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='config fields to override, as name=value')
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error('--batch-size must be 1 or more')
    return args


def main(args: argparse.Namespace) -> None:
    """Classify and print a line per image."""
    import mmengine

    from glsim_mm import apis

    files = apis.find_images(args.images)
    config = apis.load_config(args.config, args.cfg_options)
    inferencer = apis.GLSimInferencer(config, args.checkpoint, args.device)
    results = []
    for result in apis.predict_files(inferencer, files, args.batch_size):
        results.append(result)
        print(apis.format_prediction(result))
    if args.out:
        mmengine.dump(results, args.out)


if __name__ == '__main__':
    run(main, parse_args())
