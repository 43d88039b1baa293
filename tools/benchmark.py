"""Time GLSim against one plain pass and against the straightforward two: glsim benchmark inference."""

import argparse
import sys
from pathlib import Path

import command_line as cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(description='Compare speed and memory of models that take turns in one process')
    tasks = parser.add_subparsers(dest='task', required=True)
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
    cli.add_config(loading, ' with a train_dataloader')
    cli.add_number(loading, '--num-workers', 'processes that load images', [0, 1, 2], least=0, nargs='+')
    cli.add_number(loading, '--images', 'images to load', 256)
    cli.add_number(loading, '--threads', 'threads of the model on the CPU; default: as torch does')
    loading.add_argument('--device', default='cpu', help='device of the model: cpu or cuda; default: cpu')
    cli.add_number(loading, '--rounds', 'counted rounds', 3)
    loading.add_argument('--out', type=cli.OutputFolder, help='folder for results.json and results.md')
    cli.add_overrides(loading)
    serving = tasks.add_parser('serving', help='a glsim serve that many ask at once, against its model alone')
    serving.add_argument('url', help='address of the server, which nobody else should ask meanwhile')
    cli.add_images(serving)
    serving.add_argument('--token-file', metavar='FILE', help='file with the token that the server wants')
    cli.add_number(serving, '--clients', 'how many ask at once', 32)
    cli.add_number(serving, '--seconds', 'length of a round', 20)
    cli.add_number(serving, '--rounds', 'counted rounds', 3)
    return parser.parse_args(argv)


def _add_workload(parser: argparse.ArgumentParser, sizes: list[int], batches: list[int]) -> None:
    parser.add_argument(
        '--models', nargs='+', default=['vit-base'], help='vit-tiny vit-small vit-base; default: vit-base'
    )
    cli.add_number(parser, '--sizes', 'sides of the images in pixels', sizes, nargs='+')
    cli.add_number(parser, '--batch-sizes', 'images at a time', batches, nargs='+')
    parser.add_argument('--device', default='cpu', help='cpu, or cuda; default: cpu')
    cli.add_number(parser, '--threads', 'threads on the CPU; default: as torch does')
    cli.add_number(parser, '--rounds', 'counted rounds', 7)
    parser.add_argument('--no-memory', action='store_true', help='measure time only')
    parser.add_argument(
        '--out', type=cli.OutputFolder, help='folder for results.json and results.md, which grow with every workload'
    )


def check(args: argparse.Namespace) -> None:
    """Find unknown models and modes, odd sizes and missing packages before the model stack is loaded."""
    from glsim_mm.analysis.measuring import check_workloads

    if args.task in ('inference', 'training'):
        modes = args.modes if args.task == 'inference' else []
        check_workloads(args.models, args.sizes, args.batch_sizes, modes)
        cli.needs_packages(*{'onnxruntime', 'openvino'}.intersection(modes), why='a mode')


def main(args: argparse.Namespace) -> cli.End:
    """Measure, print and write."""
    if args.task == 'serving':
        return measure_server(args)
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
        return cli.End('train', args.config)
    works = [  # the smallest images first
        model_speed.Workload(model, size, batch, args.device, args.threads)
        for model in args.models
        for size in args.sizes
        for batch in args.batch_sizes
    ]
    if args.task == 'inference':
        model_speed.run_inference(works, args.modes, args.rounds, not args.no_memory, out, print)
        return cli.End('crop-curve', 'CONFIG', 'CHECKPOINT')
    model_speed.run_training(works, args.rounds, not args.no_memory, out, print)
    return cli.End('benchmark', 'loading', 'CONFIG')


def measure_server(args: argparse.Namespace) -> cli.End:
    """Ask a server, and print what came of it."""
    from glsim_mm.analysis.serving_speed import format_serving, measure_serving

    token = Path(args.token_file).read_text(encoding='utf-8').strip() if args.token_file else None
    limits = args.clients, args.seconds, args.rounds
    found = measure_serving(
        args.url, args.images, *limits, token, args.exclude, lambda text: print(text, file=sys.stderr, flush=True)
    )
    print(format_serving(found))
    return cli.End('doctor')


if __name__ == '__main__':
    cli.run(main, parse_args(), needs_model=lambda args: args.task != 'serving', check=check)
