"""Boxes of a data set for mmdet and mmseg: glsim export-boxes DATA_ROOT."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Write the boxes of a data set in the layout of CUB-200-2011 (the demo set is in it) as '
        'annotations/SPLIT.json in COCO format for mmdet, and as masks/ and splits/SPLIT.txt for mmseg'
    )
    parser.add_argument('root', help='folder of the data set, with images/ and bounding_boxes.txt')
    parser.add_argument('--out', type=cli.OutputFolder, help='folder to write to; default: that of the data set')
    parser.add_argument('--single-class', metavar='NAME', help='one class for all boxes, for example bird')
    parser.add_argument(
        '--shape', choices=('ellipse', 'box'), default='ellipse', help='mask drawn in each box; default: ellipse'
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> cli.End:
    """Export both splits."""
    from glsim_mm.datasets import CUBFormat
    from glsim_mm.datasets.box_export import export_boxes

    out = args.out or args.root
    for split in ('train', 'test'):
        dataset = CUBFormat(args.root, split, pipeline=[])
        samples = [dataset.get_data_info(index) for index in range(len(dataset))]
        images = Path(args.root) / 'images'
        written, _ = export_boxes(samples, dataset.CLASSES, images, out, split, args.single_class, args.shape)
        print(f'{len(samples)} images in {written}')
    models = ('--config', 'CONFIG', '--checkpoint', 'CHECKPOINT', '--detector-config', 'DETECTOR')
    return cli.End('detect-and-search', 'PHOTOS', *models, '--detector-checkpoint', 'WEIGHTS', written=[out])


if __name__ == '__main__':
    cli.run(main, parse_args())
