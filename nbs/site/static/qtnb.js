// A copy button on every block of code.
document.addEventListener("DOMContentLoaded", () => {
  const copy = async (text) => {
    try { await navigator.clipboard.writeText(text); return; } catch { /* not allowed here: fall through */ }
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
  };
  for (const block of document.querySelectorAll("div.cell_input div.highlight, .bd-article > section div[class*='highlight-'] > div.highlight, details.api-source div.highlight")) {
    if (block.querySelector("button.copy")) continue;
    const button = Object.assign(document.createElement("button"), { className: "copy", type: "button", title: "Copy", ariaLabel: "Copy the code", textContent: "Copy" });
    button.addEventListener("click", async () => {
      await copy(block.querySelector("pre").innerText.replace(/\n$/, ""));
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.append(button);
  }
});
