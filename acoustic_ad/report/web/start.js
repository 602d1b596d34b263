// Which view is shown stands in the address, so that back, reload and a bookmark work.
let fleetAt = 0;
function route(first) {
  const match = /^#machine=(\d+)$/.exec(location.hash), row = match ? DATA.rows[Number(match[1])] : null;
  const fleet = document.getElementById("fleet"), article = document.getElementById("machine");
  if (row) {
    if (!fleet.hidden) fleetAt = window.scrollY;
    fleet.hidden = true;
    article.hidden = false;
    drawMachine(row);
    document.title = `${word(row.state)}: ${row.name}`;
    window.scrollTo(0, 0);
    document.getElementById("machine-title").focus({ preventScroll: true });
  } else {
    article.hidden = true;
    fleet.hidden = false;
    document.title = "Machine health by sound";
    if (first !== true) window.scrollTo(0, fleetAt);
  }
}
startFleet();
route(true);
window.addEventListener("hashchange", route);
