"""Learn a metric from the labels of a gallery: glsim metric fit GALLERY."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import command_line as cli

DESCRIPTION = """Learn from labels which directions of the embeddings to trust, without the
model.

fit learns a metric from stored embeddings and keeps it as a new space, which
searches compare by default, if classes that were held out are found better
with it; which of several is best, glsim choose finds out. info shows the
metrics of a gallery; remove takes one away."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('action', choices=['fit', 'info', 'remove'], help='what to do')
    cli.add_gallery(parser)
    parser.add_argument(
        '--space',
        help='embeddings to learn a metric of, or several to add up, as global+crop; default: those that searches '
        'compare. With remove, those of the metric',
    )
    parser.add_argument(
        '--kind',
        choices=['classes', 'adapter', 'pca', 'sum'],
        default='classes',
        help='within-class whitening, an adapter before it, PCA whitening, or the sum of --space; default: classes',
    )
    parser.add_argument(
        '--labels-from', metavar='OTHER', help='gallery of the same model to learn from; default: GALLERY itself'
    )
    parser.add_argument('--force', action='store_true', help='keep the metric even if held-out classes do not gain')
    args = parser.parse_args(argv)
    if args.action != 'fit' and (args.labels_from or args.force or args.kind != 'classes'):
        parser.error('--labels-from, --kind and --force go with fit')
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Learn, look or remove, and say what was done."""
    from retrieval.class_metric import describe_metrics, fit_metric, remove_metric
    from retrieval.gallery import open_gallery

    with ExitStack() as stack:
        gallery = stack.enter_context(open_gallery(args.gallery, writable=args.action != 'info'))
        if args.action == 'info':
            print(describe_metrics(gallery))
        elif args.action == 'remove':
            print(f'{remove_metric(gallery.as_writer(), args.space)} is removed')
        else:
            other = stack.enter_context(open_gallery(args.labels_from)) if args.labels_from else None
            how = dict(kind=args.kind, labels_from=other, force=args.force)
            print(fit_metric(gallery.as_writer(), args.space, **how).describe())
    return cli.End('choose' if args.action == 'info' else 'evaluate', args.gallery)


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=False)
