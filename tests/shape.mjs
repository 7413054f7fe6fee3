// What the source looks like, in numbers: `node tests/shape.mjs` prints them, `--check` fails where one is out of bounds.
//
//   file ─▶ shipped part (no tests) ─▶ code, prose, blank lines
//                                   └▶ functions, structs, methods by type, words that doc comments begin with

import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

// What an outsider should find; each bound is a figure that was reached, so that it does not get worse.
const BOUNDS = {
	"median lines of a file": 200,
	"90th percentile of a file": 400,
	"lines of the longest file": 860,
};

// Ships nothing: it measures what does.
const TOOLS = new Set(["everwire-bench", "everwire-counts"]);

function* sources(folder) {
	for (const name of readdirSync(folder).sort()) {
		const path = join(folder, name);
		const stem = name.replace(/\.rs$/, "");
		if (stem === "tests" || stem === "testing") continue;
		if (statSync(path).isDirectory()) yield* sources(path);
		else if (name.endsWith(".rs")) yield path;
	}
}

/// The source without its trailing module of tests.
const shipped = (text) => text.split("#[cfg(test)]\nmod tests {")[0];

/// The same length and lines, with comments and the content of strings blanked out, so that braces can be counted.
function bare(text) {
	const blank = (match) => match.replace(/[^\n]/g, " ");
	return text.replace(
		/\/\/[^\n]*|\/\*[\s\S]*?\*\/|b?r(#*)"[\s\S]*?"\1|b?"(?:\\[\s\S]|[^"\\])*"|b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^\\'\n])'/g,
		blank,
	);
}

/// Where the block that begins at or after a position ends, or -1 if a semicolon comes first.
function blockEnd(code, from) {
	let depth = 0;
	let round = 0;
	for (let at = from; at < code.length; at++) {
		const c = code[at];
		if (c === "(" || c === "[") round++;
		else if (c === ")" || c === "]") round--;
		else if (c === "{") depth++;
		else if (c === "}" && --depth === 0) return at;
		else if (c === ";" && depth === 0 && round === 0) return -1;
	}
	return -1;
}

const lineOf = (code, at) => code.slice(0, at).split("\n").length;

function functions(code) {
	const found = [];
	for (const match of code.matchAll(/\bfn\s+(\w+)/g)) {
		const end = blockEnd(code, match.index);
		if (end < 0) continue;
		found.push({ name: match[1], lines: lineOf(code, end) - lineOf(code, match.index) + 1 });
	}
	return found;
}

function structs(code) {
	const found = [];
	for (const match of code.matchAll(/\bstruct\s+(\w+)[^;{(]*\{/g)) {
		const open = match.index + match[0].length - 1;
		const end = blockEnd(code, open);
		const fields = code.slice(open + 1, end).match(/^\s*(?:pub(?:\([^)]*\))?\s+)?\w+\s*:(?!:)/gm) ?? [];
		found.push({ name: match[1], fields: fields.length });
	}
	return found;
}

/// The methods that each type has in a source, over all its own `impl` blocks.
function methods(code) {
	const found = new Map();
	for (const match of code.matchAll(/^impl\b([^{;]*)\{/gm)) {
		const head = match[1].replace(/^\s*<(?:[^<>]|<[^<>]*>)*>/, "");
		if (/\bfor\b/.test(head)) continue;
		const name = head.match(/(\w+)\s*(?:<|$|\s)/)?.[1];
		const open = match.index + match[0].length - 1;
		const count = (code.slice(open, blockEnd(code, open)).match(/\bfn\s+\w+/g) ?? []).length;
		if (name) found.set(name, (found.get(name) ?? 0) + count);
	}
	return found;
}

function median(sorted, share = 0.5) {
	return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

const files = [];
const crates = new Map();
const long = [];
const wide = [];
const busy = new Map();
const openings = new Map();
for (const crate of readdirSync(join(root, "crates")).sort()) {
	for (const path of sources(join(root, "crates", crate, "src"))) {
		const text = shipped(readFileSync(path, "utf8"));
		const code = bare(text);
		const lines = text.trimEnd().split("\n");
		const prose = lines.filter((line) => /^\s*\/\//.test(line)).length;
		const name = relative(root, path);
		files.push({ name, crate, lines: lines.length, prose });
		crates.set(crate, (crates.get(crate) ?? 0) + lines.length);
		if (TOOLS.has(crate)) continue;
		for (const one of functions(code)) if (one.lines > 60) long.push({ ...one, name: `${name}: ${one.name}` });
		for (const one of structs(code)) if (one.fields > 12) wide.push({ ...one, name: `${name}: ${one.name}` });
		for (const [type, count] of methods(code)) {
			const key = `${crate}: ${type}`;
			busy.set(key, (busy.get(key) ?? 0) + count);
		}
		let inDoc = false;
		for (const line of lines) {
			const doc = line.match(/^\s*\/\/\/\s*(The same|What|Whether|Who)\b/);
			if (doc && !inDoc) openings.set(doc[1], (openings.get(doc[1]) ?? 0) + 1);
			inDoc = /^\s*\/\/\//.test(line);
		}
	}
}

const sorted = files.map((file) => file.lines).sort((a, b) => a - b);
const product = [...crates].filter(([crate]) => !TOOLS.has(crate));
const productLines = product.reduce((sum, [, lines]) => sum + lines, 0);
const proseShare = files.reduce((sum, file) => sum + file.prose, 0) / sorted.reduce((sum, lines) => sum + lines, 0);
const longest = [...files].sort((a, b) => b.lines - a.lines);
const figures = {
	files: files.length,
	"median lines of a file": median(sorted),
	"90th percentile of a file": median(sorted, 0.9),
	"lines of the longest file": sorted.at(-1),
	"prose, in percent of lines": Math.round(proseShare * 100),
	"lines of the product": productLines,
	"share of the largest crate, in percent": Math.round((100 * Math.max(...product.map(([, lines]) => lines))) / productLines),
	"functions over 60 lines": long.length,
	"structs over 12 fields": wide.length,
	"types over 30 methods": [...busy.values()].filter((count) => count > 30).length,
	"doc comments that begin with What, Whether, Who, The same": [...openings.values()].reduce((a, b) => a + b, 0),
};

const list = (title, rows) => {
	console.log(`\n${title}`);
	for (const [name, count] of rows) console.log(`  ${String(count).padStart(6)}  ${name}`);
};
for (const [name, figure] of Object.entries(figures)) console.log(`${String(figure).padStart(8)}  ${name}`);
list("crates", [...crates].sort((a, b) => b[1] - a[1]));
list("longest files", longest.slice(0, 8).map((file) => [file.name, file.lines]));
list("longest functions", long.sort((a, b) => b.lines - a.lines).slice(0, 12).map((one) => [one.name, one.lines]));
list("structs over 12 fields", wide.sort((a, b) => b.fields - a.fields).map((one) => [one.name, one.fields]));
list("types over 30 methods", [...busy].filter(([, count]) => count > 30).sort((a, b) => b[1] - a[1]));
list("doc comments begin with", [...openings]);

if (process.argv.includes("--check")) {
	const beyond = Object.entries(BOUNDS).filter(([name, bound]) => figures[name] > bound);
	for (const [name, bound] of beyond) console.error(`shape: ${name} is ${figures[name]}; it may be ${bound}`);
	process.exitCode = beyond.length > 0 ? 1 : 0;
}
