"""Search over settings and seeds: glsim sweep CONFIG --grid model.neck.top_o=4,8 --seeds 0 1 2."""

import argparse
import sys
from pathlib import Path

import command_line as cli

TOOLS = Path(__file__).resolve().parent


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = cli.Parser(
        description='Train a config with every combination of settings and seeds, and print the mean and deviation '
        'of each setting. Run it again to go on after an interruption, or to add settings'
    )
    cli.add_config(parser)
    parser.add_argument(
        '--grid',
        nargs='+',
        default=[],
        metavar='NAME=VALUES',
        help='config fields and their values, as name=a,b,c; values that are lists: name="[[1,2],[3,4]]"',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='random seeds; default: 0')
    parser.add_argument(
        '--work-dir', type=cli.OutputFolder, help='folder of the sweep; default: work_dirs/NAME_OF_CONFIG_sweep'
    )
    parser.add_argument('--metric', default='accuracy/top1', help='what to compare; default: accuracy/top1')
    parser.add_argument(
        '--lower-is-better', action='store_true', help='the lowest mean is best; default: by the rule of save_best'
    )
    parser.add_argument('--last', action='store_true', help='take the last validation of a training, not its best one')
    cli.add_number(parser, '--jobs', 'trainings at a time on this machine', 1)
    cli.add_number(parser, '--gpus', 'processes of each training, by dist_train.sh', 1)
    parser.add_argument('--retry-failed', action='store_true', help='run failed trainings again')
    parser.add_argument('--dry-run', action='store_true', help='list the trainings only')
    parser.add_argument(
        '--table-only', action='store_true', help='only make the table of finished trainings; needs no --grid'
    )
    cli.add_overrides(parser, default={}, help='config fields for all trainings, as name=value')
    args = parser.parse_args(argv)
    if args.gpus > 1 and args.jobs > 1:
        parser.error('--gpus goes with one training at a time; leave out --jobs')
    return args


def main(args: argparse.Namespace) -> cli.End:
    """Search, or look at what was found."""
    from glsim_mm import apis
    from glsim_mm.apis import sweep_table, sweep_trials

    cfg = apis.load_config(args.config, args.cfg_options)
    folder = args.work_dir or str(Path('work_dirs', f'{Path(args.config).stem}_sweep'))
    if args.table_only:
        sweep = sweep_trials.read_sweep(folder)
    else:
        sweep = apis.plan_sweep(cfg, folder, sweep_trials.parse_grid(args.grid), args.seeds)
    if args.dry_run:
        print('\n'.join(f'{trial.status}  {trial.name}' for trial in sweep.trials.values()))
        return cli.end_of_dry_run('sweep')
    if not args.table_only:
        command = apis.training_command(TOOLS, args.config, args.cfg_options, args.gpus)
        apis.run_sweep(sweep, command, args.jobs, args.retry_failed)
    for trial in sweep.failed():
        print(f'failed: {trial.name}, {trial.message}', file=sys.stderr)
    lower = args.lower_is_better or sweep_table.is_lower_better(cfg, args.metric)
    results = apis.gather_results(sweep, args.metric, args.last, lower)
    print(apis.format_results_table(results, args.metric))
    print(sweep_table.explain_values(args.last, lower))
    table = apis.write_results(sweep, results, args.metric)
    print(f'table in {table}')
    if sweep.failed():
        sys.exit(1)
    return cli.End('test', *sweep_table.find_best_run(sweep, results), written=[str(table)])


if __name__ == '__main__':
    cli.run(main, parse_args())
