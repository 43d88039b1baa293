"""Classify images with an exported model: python tools/infer_exported.py model.onnx photos."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from command_line import at_least, needs_packages, run, write_json


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Classify images with a file of tools/export.py; needs neither mmpretrain nor torch'
    )
    parser.add_argument('model', help='.onnx file')
    parser.add_argument('inputs', nargs='+', help="image files, folders, and patterns such as 'photos/**/*.jpg'")
    parser.add_argument('--out', help='JSON file for the results, similarity maps among them')
    parser.add_argument('--batch-size', type=at_least(1), default=16, help='images per pass; default: 16')
    parser.add_argument('--backend', choices=['onnxruntime', 'openvino'], default='onnxruntime', help='what runs it')
    parser.add_argument('--device', help='cpu or cuda; default: the GPU if ONNX Runtime can use it')
    parser.add_argument('--threads', type=at_least(1), help='threads on the CPU; default: all cores')
    parser.add_argument(
        '--top-k', type=at_least(1), default=5, help='classes listed in --out for each image; default: 5'
    )
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Find missing files and packages before anything is loaded."""
    from glsim_mm.errors import GLSimError

    if not Path(args.model).is_file():
        raise GLSimError(f'{args.model} does not exist; check the path')
    needs_packages(args.backend, why=f'--backend {args.backend}')


def main(args: argparse.Namespace) -> None:
    """Print one line per image."""
    from glsim_mm.exported import ExportedInferencer
    from glsim_mm.images.results import format_prediction, results_to_json

    inferencer = ExportedInferencer(args.model, backend=args.backend, device=args.device, threads=args.threads)
    results = []
    for result in inferencer.iterate(args.inputs, args.batch_size, args.top_k):
        results.append(result)
        if 'error' not in result:
            print(format_prediction(result), flush=True)
    if args.out:
        write_json(args.out, results_to_json(results))
    if all('error' in result for result in results):
        sys.exit(1)


if __name__ == '__main__':
    run(main, parse_args(), needs_model=False, check=check)
