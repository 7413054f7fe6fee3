// Writes the reference, `docs/client-api.md` at the root, from the types that are shipped: `npm run docs`.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const DIST = new URL("dist/", import.meta.url);
const PAGE = new URL("../../docs/client-api.md", import.meta.url);

const HEAD = `# Client API

Everything that the TypeScript client exports, made from its types by \`npm run docs\`. [client.md](client.md) tells how
the parts play together.
`;

/** What `index.d.ts` exports, in its order: name and declaration, with its comments. */
export function exported() {
  const exports = read("index.d.ts").matchAll(/^export (?:type )?\{ (.+) \} from "\.\/(.+)\.js";$/gm);
  return [...exports].flatMap(([, names, module]) => {
    const declared = declarations(read(`${module}.d.ts`));
    return names.split(", ").map((name) => {
      const plain = name.replace("type ", "");
      return { name: plain, ...declared.get(plain) };
    });
  });
}

/** The page as it has to be. */
export function reference() {
  const sections = exported().map(
    ({ name, about, code }) => `\n## \`${name}\`\n\n${about}\n\n\`\`\`ts\n${code}\n\`\`\`\n`,
  );
  return HEAD + sections.join("");
}

/** The page as it is. */
export const page = () => readFileSync(PAGE, "utf8");

/** The declarations of a module by name, each with the comment right above it. */
function declarations(text) {
  const lines = text.split("\n");
  const found = new Map();
  for (const [at, line] of lines.entries()) {
    const [, declaration, kind, name] = /^export (?:declare )?((class|interface|type|function) (\w+).*)/.exec(line) ?? [];
    if (!name) continue;
    const isBlock = kind === "class" || kind === "interface";
    const length = lines.slice(at).findIndex((last) => (isBlock ? last === "}" : /^[^ ].*;$/.test(last)));
    const rest = lines.slice(at + 1, at + length + 1).filter((member) => !/^ +#private;$/.test(member));
    const above = lines.slice(0, at);
    const comment = above.slice(above.findLastIndex((before) => before.startsWith("/**")));
    found.set(name, {
      about: prose(comment.join("\n")),
      code: [declaration, ...rest].map((member) => member.trimEnd().replaceAll("    ", "  ")).join("\n"),
    });
  }
  return found;
}

/** A comment as text: without its stars, and with its tags as sentences. */
function prose(comment) {
  return comment
    .replace(/^\/\*\*| ?\*\/$/g, "")
    .replace(/^ *\* ?/gm, "")
    .replace(/^@param (\w+) /gm, "- `$1`: ")
    .trim();
}

function read(file) {
  return readFileSync(new URL(file, DIST), "utf8");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(PAGE, reference());
