// Time: the slider that goes back in it, and the replay.

const TIME = "When things happened in the run: seconds since it began, long waits left out; "
  + "of recorded samples, the seconds of compute that drawing them took";
const SPEEDS = { fit: "in 12 s", 1: "as it was", 4: "4 times as fast", 16: "16 times as fast" };

function clockOf(me) {
  let playing = 0;
  const play = button("▶", "Play the run again, as fast as is set beside it", () => (playing ? pause() : start()), { "aria-label": "Replay" });
  const choices = Object.entries(SPEEDS).map(([value, text]) => make("option", { value }, text));
  const speed = make("select", { "aria-label": "Speed of the replay", title: "How fast the run is played again" }, ...choices);
  speed.value = "fit";
  const slider = make("input", { type: "range", min: 0, step: "any", title: TIME,
    "aria-label": "Time of the run", input: () => { pause(); goTo(Number(slider.value)); } });
  const clock = make("span", { class: "clock", title: TIME });
  const element = make("div", { class: "time" }, play, speed, slider, clock);

  function goTo(time) {
    if (time >= me.all.time) me.now = me.all;
    else {
      if (me.now === me.all || time < me.now.time) me.now = new Fold();
      while (me.rows[me.now.rows][0] <= time) me.now.take(me.rows[me.now.rows]);
    }
    slider.value = time;
    me.soon();
  }

  function start() {
    const quick = Math.max(me.all.time / 12, Math.min(me.all.time / 4, 1)); // for 4 to 12 seconds
    let time = me.now === me.all ? 0 : Number(slider.value);
    let before = performance.now();
    const tick = (at) => {
      time += ((at - before) / 1000) * (Number(speed.value) || quick);
      before = at;
      goTo(time);
      if (me.now === me.all) pause();
      else playing = requestAnimationFrame(tick);
    };
    playing = requestAnimationFrame(tick);
  }

  function pause() {
    cancelAnimationFrame(playing);
    playing = 0;
    me.soon();
  }

  slider.addEventListener("keydown", (event) => { // an arrow key goes to the next event
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    pause();
    const shown = me.now === me.all ? Infinity : Number(slider.value);
    const later = (row) => row[0] > shown;
    const earlier = (row) => row[0] < Math.min(shown, me.all.time);
    const row = step > 0 ? me.rows.find(later) : me.rows.findLast(earlier);
    if (row) goTo(row[0]);
  });

  function draw() {
    slider.max = me.all.time;
    if (me.now === me.all) slider.value = me.all.time;
    const end = `${me.all.time.toFixed(1)} s of the run`;
    write(clock, me.now === me.all ? end : `${Number(slider.value).toFixed(1)} of ${end}`);
    put(slider, "aria-valuetext", clock.textContent);
    write(play, playing ? "❚❚" : "▶");
    put(play, "title", playing ? "Hold the replay here" : "Play the run again, as fast as is set beside it");
    put(play, "aria-label", playing ? "Pause the replay" : "Replay");
  }

  return { element, draw, pause };
}
