"""Time GLSim against one plain pass and against the straightforward two: python tools/benchmark.py inference."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from command_line import add_overrides, at_least, run


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        description='Measure speed and memory side by side: everything in turns in one process, as ratios'
    )
    tasks = parser.add_subparsers(dest='task', required=True, metavar='TASK')
    inference = tasks.add_parser('inference', help='predictions: eager, compiled, exported, and what trades accuracy')
    _add_workload(inference, [224, 448], [1, 8, 32])
    inference.add_argument(
        '--modes',
        nargs='+',
        default=['eager', 'compiled', 'onnxruntime', 'openvino'],
        help='eager compiled onnxruntime openvino torch-linear half-crop merged bf16 int8 off; default: the first four',
    )
    training = tasks.add_parser('training', help='training steps: forward, backward, optimiser')
    _add_workload(training, [224], [8])
    loading = tasks.add_parser('loading', help='the data pipeline of a config against its model')
    loading.add_argument('config', help='config file with a train_dataloader')
    loading.add_argument('--num-workers', type=at_least(0), nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    loading.add_argument('--images', type=at_least(1), default=256, help='images to load; default: 256')
    loading.add_argument('--threads', type=at_least(1), help='threads of the model on the CPU; default: as torch does')
    loading.add_argument('--device', default='cpu', help='of the model: cpu, or cuda; default: cpu')
    loading.add_argument('--rounds', type=at_least(1), default=3, help='counted rounds; default: 3')
    loading.add_argument('--out', help='folder for results.json and results.md')
    add_overrides(loading)
    return parser.parse_args(argv)


def _add_workload(parser: argparse.ArgumentParser, sizes: list[int], batches: list[int]) -> None:
    listed = ' '.join(map(str, sizes)), ' '.join(map(str, batches))
    parser.add_argument('--models', nargs='+', default=['vit-base'], help='vit-tiny vit-small vit-base; default: last')
    parser.add_argument('--sizes', type=at_least(1), nargs='+', default=sizes, help=f'pixels; default: {listed[0]}')
    parser.add_argument(
        '--batch-sizes', type=at_least(1), nargs='+', default=batches, help=f'images; default: {listed[1]}'
    )
    parser.add_argument('--device', default='cpu', help='cpu, or cuda; default: cpu')
    parser.add_argument('--threads', type=at_least(1), help='threads on the CPU; default: as torch does')
    parser.add_argument('--rounds', type=at_least(1), default=7, help='counted rounds; default: 7')
    parser.add_argument('--no-memory', action='store_true', help='time only')
    parser.add_argument('--out', help='folder for results.json and results.md, which grow with every workload')


def main(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    from glsim_mm.analysis import loading_speed, model_speed
    from glsim_mm.apis import load_config

    out = Path(args.out) if args.out else None
    if args.task == 'loading':
        cfg = load_config(args.config, args.cfg_options)
        limits = args.num_workers, args.images, args.rounds, args.device, args.threads
        report = loading_speed.measure_loading(cfg, *limits)
        table = loading_speed.loading_table(report)
        print(table)
        model_speed.write_results(out, table, [report])
        return
    works = [  # the smallest images first
        model_speed.Workload(model, size, batch, args.device, args.threads)
        for model in args.models
        for size in args.sizes
        for batch in args.batch_sizes
    ]
    if args.task == 'inference':
        model_speed.run_inference(works, args.modes, args.rounds, not args.no_memory, out, print)
    else:
        model_speed.run_training(works, args.rounds, not args.no_memory, out, print)


if __name__ == '__main__':
    run(main, parse_args())
