"""Trains the demo model from nothing, by the clock, on two processes of one thread each.

    train.py CLIPS OUTDIR --tokenizer DIR --end HH:MM [--vision-minutes 4] [--save-minutes 8] [--resume FILE]

CLIPS is the folder that `render.py clips` fills (it may still be filling). The learning rate follows the wall clock, so that its
decay is complete at --end (UTC) however busy the machine is. OUTDIR is an ordinary Hugging Face directory, replaced file by file.
What mattered, seen in the curves: targets for what each visual token shows; a time bin for each video token after layer 2;
starts and ends on the tokens that show them after layer 3; the whole time that an answer is telling, after layer 4 at each of
its characters, and where one head looks meanwhile; the question's type on the prompt's last token; Muon for matrices; decay
to nothing.
"""
import argparse
import datetime
import os
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

import batch
import export
from model import CONFIG, Qwen
from tokenizer import Tokenizer


class Heads(nn.Module):
    """Used while training, dropped when saving."""

    def __init__(self, hidden):
        super().__init__()
        self.sight = nn.Linear(hidden, 8 * 2 * 2)
        self.time = nn.Linear(hidden, batch.TIME_BINS)
        self.edge = nn.Linear(hidden, 2 * (batch.TIME_BINS + batch.NEAR_BINS))
        self.told = nn.Linear(hidden, batch.TIME_BINS)
        self.kind, self.count = nn.Linear(hidden, 9), nn.Linear(hidden, 5)

    def sight_loss(self, tokens, b):
        out = self.sight(tokens).view(*tokens.shape[:2], 2, 2, 8)  # [grids, tokens, seen|place, frame, type]
        seen = F.binary_cross_entropy_with_logits(out[:, :, 0], b["seen"].float(), reduction="sum") / (tokens.shape[0] * 8)
        place = F.smooth_l1_loss(out[:, :, 1][b["placed"]], b["place"][b["placed"]], beta=0.05)
        return seen, place


def pointing_loss(attention, b):
    """Where the first head of a layer looks while a time is told: at tokens that show the object near that moment. Without this,
    finding the place is learned last."""
    q, k = (x[:, 0] for x in attention.seen)  # [B, L, size]
    row, at = b["told"]
    scores = (q[row, at][:, None] @ k[row].transpose(1, 2))[:, 0] * q.shape[-1] ** -0.5 + b["mask"][row, 0, at]
    aim = scores[:, b["video"][0]:b["video"][1]].masked_fill(~b["aim"], -1e9)
    return (scores.logsumexp(1) - aim.logsumexp(1)).mean()


def edge_loss(head, states, label):
    """When the object that a token shows came or goes: as a time, and as a distance from the token's own time."""
    some = label[..., 0] >= 0  # [B, tokens, 2 sides]
    whole, near = head(states).view(*label.shape[:3], -1)[some].split((batch.TIME_BINS, batch.NEAR_BINS), -1)
    label = label[some]
    return F.cross_entropy(whole, label[:, 0].clamp(max=batch.TIME_BINS - 1)), F.cross_entropy(near, label[:, 1])


def losses(model, heads, b):
    tokens = model.visual(b["patches"], batch.ROWS, batch.COLUMNS)
    out = {}
    out["seen"], out["place"] = heads.sight_loss(tokens, b)
    x = model.model.embed_tokens(b["ids"])
    first, last = b["video"]
    rows = x.shape[0]
    x = torch.cat((x[:, :first], tokens.view(rows, last - first, -1), x[:, last:]), 1)
    states, (after2, after3, after4) = model.model(x, b["positions"], b["mask"], keep=(2, 3, 4))
    out["time"] = F.cross_entropy(heads.time(after2[:, first:last]).flatten(0, 1), b["time"].flatten())
    out["edge"], out["near"] = edge_loss(heads.edge, after3[:, first:last], b["edge"])
    prompt = b["prompt_end"]
    out["kind"] = F.cross_entropy(heads.kind(after3[prompt]), b["kind"])
    out["count"] = F.cross_entropy(heads.count(states[prompt]), b["count"])
    if len(b["told_bin"]):
        out["point"] = pointing_loss(model.model.layers[3].self_attn, b)
        out["told"] = F.cross_entropy(heads.told(after4[b["told"]]), b["told_bin"])
    logits = model.logits(states[b["answer"]])
    each = F.cross_entropy(logits, b["target"], reduction="none")
    out["answer"] = (each * b["weight"]).sum() / b["weight"].sum()
    return out


WEIGHTS = {"seen": 0.3, "place": 0.3, "time": 0.3, "edge": 0.3, "near": 0.2, "kind": 0.2, "count": 0.2, "told": 0.5, "point": 0.3, "answer": 1.0}


def newton_schulz(g, steps=5):
    """The nearest orthogonal matrix, roughly (the quintic of Muon)."""
    tall = g.shape[0] > g.shape[1]
    x = g.T if tall else g
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if tall else x


class Muon:
    """Momentum, orthogonalised, at AdamW's usual size of step. Each process does half of the matrices."""

    def __init__(self, params, rank, size):
        self.params, self.rank, self.size = params, rank, size
        self.momentum = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self, rate, decay=0.02):
        updates = [torch.zeros_like(p) for p in self.params]
        for i, (p, m) in enumerate(zip(self.params, self.momentum)):
            m.lerp_(p.grad, 0.05)
            if i % self.size == self.rank:
                step = newton_schulz(p.grad.lerp(m, 0.95))
                updates[i] = step * (0.2 * max(step.shape) ** 0.5)
        updates = reduce_all(updates, self.size)
        for p, u in zip(self.params, updates):
            p.mul_(1 - rate * decay).sub_(u, alpha=rate)


def reduce_all(tensors, size):
    """The sum over processes."""
    if size == 1:
        return tensors
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    return [part.view_as(t) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors)]


def end_time(text):
    now = datetime.datetime.now(datetime.timezone.utc)
    hour, minute = map(int, text.split(":"))
    return now.replace(hour=hour, minute=minute, second=0, microsecond=0).timestamp()


def work(rank, size, args):
    if size > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{args.port}", rank=rank, world_size=size,
                                timeout=datetime.timedelta(minutes=10))
    torch.set_num_threads(1)
    torch.manual_seed(1)
    rng = np.random.default_rng([args.seed, rank])
    clips, writer = batch.Clips(args.clips), batch.Writer(Tokenizer.load(args.tokenizer))
    model, heads = Qwen(CONFIG), Heads(CONFIG["hidden"])
    model.start()
    model.model.layers[3].self_attn.watched = True
    named = list(model.named_parameters()) + [("heads." + n, p) for n, p in heads.named_parameters()]
    matrices = [p for n, p in named if p.dim() == 2 and "embed" not in n and not n.startswith("heads.")]
    chosen = {id(p) for p in matrices}
    muon = Muon(matrices, rank, size)
    adam = torch.optim.AdamW([p for _, p in named if id(p) not in chosen], lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    if args.resume:
        state = torch.load(args.resume)
        model.load_state_dict(state["model"])
        kept = heads.state_dict()
        heads.load_state_dict({**kept, **{k: v for k, v in state["heads"].items() if k in kept}})
    begin, end = time.time(), end_time(args.end)
    vision_end = begin + args.vision_minutes * 60
    saved, shown, step, sums, count = begin, begin, 0, {}, 0
    clock = torch.zeros(1, dtype=torch.float64)
    while True:
        clock[0] = time.time()  # both processes go by the first one's clock
        if size > 1:
            dist.broadcast(clock, 0)
        now = float(clock)
        if now >= end - 5:
            break
        seeing = args.vision_minutes > 0 and now < vision_end
        if seeing:
            done = (now - begin) / (vision_end - begin)
            rate = min(1, (now - begin) / 20, 3 * (1 - done) + 0.3)
            b = batch.make_sights(rng, clips)
            tokens = model.visual(b["patches"], batch.ROWS, batch.COLUMNS)
            parts = dict(zip(("seen", "place"), heads.sight_loss(tokens, b)))
            total = parts["seen"] + parts["place"]
        else:
            done = max(0.0, now - vision_end) / (end - 20 - vision_end)
            # Warm up, hold, then decay in a straight line to nothing.
            rate = max(0.0, min(1.0, (now - vision_end) / 40, (1 - done) / (1 - args.hold)))
            b = batch.make(rng, clips, writer, CONFIG["tokens_per_second"], args.tokens, min(1.0, done / 0.15))
            parts = losses(model, heads, b)
            total = sum(WEIGHTS[k] * v for k, v in parts.items())
        for _, p in named:
            p.grad = None
        total.backward()
        for _, p in named:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        for (_, p), g in zip(named, reduce_all([p.grad for _, p in named], size)):
            p.grad = g / size
        muon.step(args.rate * rate)
        for group in adam.param_groups:
            group["lr"] = args.rate * rate
        adam.step()
        step += 1
        count += 1
        for k, v in parts.items():
            sums[k] = sums.get(k, 0.0) + float(v.detach())
        if rank == 0 and now - shown > 30:
            print(f"{time.strftime('%H:%M:%S', time.gmtime(now))} step {step} {(now - shown) / count:.2f} s/step rate {rate:.3f} "
                  + " ".join(f"{k} {v / count:.4f}" for k, v in sums.items()), flush=True)
            shown, sums, count = now, {}, 0
        if step % 100 == 0:
            clips.refresh()
        if rank == 0 and not seeing and now - saved > args.save_minutes * 60:
            save(model, heads, args)
            saved = now
    if rank == 0:
        save(model, heads, args)
        print("done", step, flush=True)


def save(model, heads, args):
    export.write(model, args.out, args.tokenizer)
    torch.save({"model": model.state_dict(), "heads": heads.state_dict()}, args.out.rstrip("/") + ".state.part")
    os.replace(args.out.rstrip("/") + ".state.part", args.out.rstrip("/") + ".state")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("clips")
    p.add_argument("out")
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--end", required=True)
    p.add_argument("--vision-minutes", type=float, default=4)
    p.add_argument("--save-minutes", type=float, default=8)
    p.add_argument("--hold", type=float, default=0.35)
    p.add_argument("--rate", type=float, default=2.5e-3)
    p.add_argument("--tokens", type=int, default=3000)
    p.add_argument("--processes", type=int, default=2)
    p.add_argument("--port", type=int, default=29571)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--resume")
    args = p.parse_args()
    if args.processes == 1:
        work(0, 1, args)
    else:
        torch.multiprocessing.spawn(work, (args.processes, args), args.processes)


if __name__ == "__main__":
    main()
