"""Genes out of an annotation: seconds and memory of `genome.annotated_genes` for each rule of the TSS, and of
`genome.exon_lengths`.

The GTF is simulated in Ensembl's words: 734,000 lines by default, twelve a gene (a gene, three transcripts, eight
exons). The genes are set against those that pandas reads out of the same file, all lines at once. Memory is the
highest of a process of its own.
"""
from common import alternate, check, parse, parser, report, resident
import gzip, json, os, subprocess, sys, tempfile
from pathlib import Path
import pandas as pd
from chromexpress.genome import TSS_RULES, annotated_genes, chrom_sizes, exon_lengths

ABOUT = ('transcript_id "ENST{g:09}{t:02}"; gene_name "GENE{g}"; gene_source "ensembl_havana"; '
         'gene_biotype "protein_coding"; transcript_name "GENE{g}-{t:03}"; transcript_source "ensembl_havana"; '
         'transcript_biotype "protein_coding"; tag "CCDS"; ccds_id "CCDS6451"; tag "{tag}"; '
         'transcript_support_level "1";')


def make_gtf(path, lines):
    "Genes 1 kb apart on 22 chromosomes."
    with gzip.open(path, "wt", compresslevel=5) as f:
        for g in range(-(-lines//12)):
            start = 10_000 + 1000*(g // 22)
            for i, feature in enumerate(["gene"] + ["transcript"]*3 + ["exon"]*8):
                span = (start, start + 899) if i == 0 else (start + 10*i, start + 899 - i)
                tag = "Ensembl_canonical" if i == 2 else "basic"
                about = f'gene_id "ENSG{g:011}"; ' + ABOUT.format(g=g, t=i, tag=tag)
                f.write(f"{1 + g % 22}\tensembl\t{feature}\t{span[0]}\t{span[1]}\t.\t{'+-'[g % 2]}\t.\t{about}\n")


def by_pandas(path): # gene id → TSS
    t = pd.read_csv(path, sep="\t", header=None, usecols=[2, 3, 4, 6, 8], names=[*range(9)], quoting=3)
    t = t[t[2] == "gene"]
    return pd.Series((t[3] - 1).where(t[6] == "+", t[4] - 1).to_numpy(), t[8].str.extract('gene_id "([^"]+)"')[0])


def work(path, what): # by name, for a process of its own
    sizes = chrom_sizes("hg19")
    return exon_lengths(path, sizes) if what == "lengths" else annotated_genes(path, sizes, tss=what)


def memory(path, what):
    "MiB of a process that does it, above what it had after the imports."
    code = ("import json, sys; from annotation import resident, work; level = resident('VmRSS'); "
            "work(*sys.argv[1:]); print(json.dumps(resident('VmHWM') - level))")
    where = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | dict(PYTHONPATH=os.pathsep.join(where))
    return json.loads(subprocess.run([sys.executable, "-c", code, path, what], check=True, capture_output=True,
                                     text=True, env=env).stdout)


def main():
    p = parser(__doc__)
    p.add_argument("--lines", type=int, default=734_000, help="of the annotation")
    a = parse(p, lines=6_000, rounds=1)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder)/"genes.gtf.gz")
        make_gtf(path, a.lines)
        ours, theirs = work(path, "gene").set_index("gene_id").tss, by_pandas(path)
        same = ours.sort_index().equals(theirs.sort_index().rename_axis("gene_id").rename("tss"))
        figures = {"genes": len(ours), "equal to pandas": check(same, "genes")}
        names = [*TSS_RULES, "lengths"]
        seconds = alternate({n: lambda n=n: work(path, n) for n in names} | {"pandas": lambda: by_pandas(path)},
                            a.rounds)
        figures |= {f"{n}, s": s for n, s in seconds.items()} | {"pandas / gene": seconds["pandas"]/seconds["gene"]}
        figures |= {f"{n}, above imports, MiB": memory(path, n) for n in names}
    report(figures, a.json)


if __name__ == "__main__": main()
