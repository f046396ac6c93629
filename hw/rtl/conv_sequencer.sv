/// Steps through the passes of one CONV after the other, and hands those whose sums are complete to `tail`.
///
/// An instruction's first pass waits for its weights, its biases, and until the sums that it could meet are where it
/// looks for them: those of `tail`, unless they are the very same entries to go on with, and those being drained.
/// Rate: a step a cycle, a cycle between instructions. tail_ready_o: no sum and no error is on its way any more.
module conv_sequencer
  import conv_pkg::*;
#(
    parameter int unsigned Inputs = 8
) (
    input  logic                clk_i,
    input  logic                rst_ni,
    input  logic                available_i,
    input  plan_t               plan_i,
    input  logic   [       1:0] set_i,
    output logic                take_o,
    input  logic                weights_full_i,
    input  logic                bias_ready_i,
    output pixel_t              pixel_o,
    output logic                fm_en_o,
    output logic   [      19:0] fm_addr_o,
    output logic   [       1:0] fm_need_o,
    input  logic                fm_range_i,
    output logic                range_o,
    output logic   [IdBits-1:0] range_id_o,
    /// Entries that are being read.
    input  logic                drain_reading_i,
    input  plan_t               drain_i,
    output plan_t               tail_o,
    output logic   [       1:0] tail_set_o,
    output logic                tail_ready_o,
    input  logic                tail_take_i,
    output logic                idle_o
);

  // Cycles from the last instruction's arrival in tail to its last sum.
  localparam int unsigned Settled = dpu_pkg::ArrayLatency(Inputs) + 5;
  localparam int unsigned SettleBits = $clog2(Settled + 1);

  typedef enum logic [1:0] {
    StateIdle,
    StateRun,
    StateEnd
  } state_e;
  state_e state_q, state_d;
  plan_t run_q, tail_q;
  logic [1:0] run_set_q, tail_set_q;
  logic [SettleBits-1:0] settle_q;
  logic fresh_q, step, may_step, may_begin, tail_busy_q, to_tail, tail_in_way, drain_in_way;
  logic beyond_q, second;
  address_t address;
  logic [12:0] entry;
  logic first_pixel, last_pixel, first_pass, last_pass, with_bias;

  function automatic logic overlap(plan_t a, plan_t b);
    return (a.lower && b.lower) || (a.upper && b.upper);
  endfunction

  assign tail_in_way = tail_busy_q && overlap(
      run_q, tail_q
  ) && (tail_q.conv.last || tail_q.conv.acc_address != run_q.conv.acc_address);
  assign drain_in_way = drain_reading_i && overlap(run_q, drain_i);
  // A tile of one pixel needs conv_addresses' second cycle.
  assign may_begin = !tail_in_way && !drain_in_way && (!run_q.conv.first || bias_ready_i) &&
      !(fresh_q && last_pixel);
  assign may_step = !first_pixel || (weights_full_i && (!first_pass || may_begin));
  assign step = state_q == StateRun && may_step && rst_ni;
  assign to_tail = state_q == StateEnd && !tail_busy_q;
  assign take_o = (state_q == StateIdle || to_tail) && available_i;

  always_comb begin
    state_d = state_q;
    if (step && last_pixel && last_pass) state_d = StateEnd;
    else if (take_o) state_d = StateRun;
    else if (to_tail) state_d = StateIdle;
  end

  always_ff @(posedge clk_i) begin
    state_q <= rst_ni ? state_d : StateIdle;
    fresh_q <= take_o;
    if (take_o) run_q <= plan_i;
    if (take_o) run_set_q <= set_i;
  end

  conv_addresses i_addresses (
      .clk_i,
      .load_i(take_o),
      .plan_i(take_o ? plan_i : run_q),
      .step_i(step),
      .address_o(address),
      .second_o(second),
      .entry_o(entry),
      .first_pixel_o(first_pixel),
      .last_pixel_o(last_pixel),
      .first_pass_o(first_pass),
      .last_pass_o(last_pass)
  );

  assign fm_en_o = step;
  assign fm_addr_o = address.value;
  assign fm_need_o = {!run_q.conv.features4 || (run_q.conv.pair && second), 1'b1};
  assign with_bias = first_pass && run_q.conv.first;
  assign pixel_o = '{
          valid: step,
          swap: step && first_pixel,
          take_bias: step && first_pixel && with_bias,
          use_bias: with_bias,
          four: run_q.conv.features4,
          pair: run_q.conv.pair,
          entry: entry,
          id: run_q.id
      };

  // Ranges come a cycle after the access.
  always_ff @(posedge clk_i) begin
    beyond_q   <= step && address.beyond;
    range_id_o <= run_q.id;
  end
  assign range_o = fm_range_i || beyond_q;

  // The instruction whose last sums are on their way, or that waits to be taken.
  assign tail_o = tail_q;
  assign tail_set_o = tail_set_q;
  assign tail_ready_o = tail_busy_q && settle_q == '0;
  assign idle_o = state_q == StateIdle && !tail_busy_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) tail_busy_q <= 1'b0;
    else if (to_tail) tail_busy_q <= 1'b1;
    else if (tail_take_i) tail_busy_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (to_tail) begin
      tail_q <= run_q;
      tail_set_q <= run_set_q;
      settle_q <= SettleBits'(Settled);
    end else if (settle_q != '0) begin
      settle_q <= settle_q - 1'b1;
    end
  end

endmodule : conv_sequencer
