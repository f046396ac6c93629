/// CONV: passes of one weight set over the tile's pixels, one pixel a cycle or with pair two, then the results.
///
/// Stages, each with one instruction, in program order: conv_operands holds the next one and works ahead of the
/// sequencer, which steps through the passes; `tail` waits for the last sums; conv_drain writes the results. A stage
/// goes on while the next ones hold instructions whose accumulators lie in the other half.
/// Latency: a pixel's feature word reaches the array MemoryLatency + 1 cycles after its step, its sum is there
/// ArrayLatency cycles later and is written a cycle after that.
/// Rate: a pass lasts max(entries, Outputs/2 + 1) cycles, one more between instructions.
module dpu_conv
  import conv_pkg::*;
#(
    parameter  int unsigned Inputs          = 8,
    parameter  int unsigned Outputs         = 16,
    parameter  int unsigned RequantizeLanes = 8,
    parameter  int unsigned Accumulators    = 256,
    /// Two products a DSP, for DspOutputs of the Outputs.
    parameter  bit          Packed          = 1'b0,
    parameter  int unsigned DspOutputs      = Outputs,
    localparam int unsigned Units           = (Inputs + 7) / 8
) (
    input  logic                                    clk_i,
    input  logic                                    rst_ni,
    input  logic                                    start_i,
    input  logic            [                255:0] instr_i,
    output logic                                    ready_o,
    output logic                                    done_o,
    output logic                                    error_o,
    output isa_pkg::error_e                         error_code_o,
    input  logic                                    abort_i,
    output logic                                    idle_o,
    output logic                                    mac_active_o,
    // Feature memory, port B.
    output logic                                    fm_en_o,
    output logic            [                 19:0] fm_addr_o,
    output logic            [                  1:0] fm_need_o,
    input  logic            [         Inputs*8-1:0] fm_data_i,
    input  logic                                    fm_range_i,
    // Weight memory, port B.
    output logic                                    wm_en_o,
    output logic            [                 19:0] wm_addr_o,
    output logic            [            Units-1:0] wm_need_o,
    input  logic            [       2*Inputs*8-1:0] wm_data_i,
    input  logic                                    wm_range_i,
    // Parameter memory.
    output logic                                    bias_en_o,
    output logic            [                 11:0] bias_addr_o,
    input  logic            [                 31:0] bias_i,
    input  logic                                    range_bias_i,
    output logic                                    scale_en_o,
    output logic            [                 11:0] scale_addr_o,
    input  logic            [                 31:0] scale_i,
    input  logic                                    range_scale_i,
    // Tables.
    output logic                                    drain_en_o,
    output logic            [                  3:0] drain_table_o,
    output logic            [RequantizeLanes*8-1:0] drain_o,
    input  logic            [RequantizeLanes*8-1:0] drain_i,
    input  logic                                    range_drain_i,
    // Output memory, port A, writes.
    output logic                                    om_en_o,
    output logic            [                 19:0] om_addr_o,
    output logic            [                  1:0] om_need_o,
    output logic            [           Inputs-1:0] om_strobe_o,
    output logic            [         Inputs*8-1:0] om_data_o,
    input  logic                                    om_range_i
);

  localparam int unsigned Groups = Outputs / RequantizeLanes;
  localparam int unsigned GroupBits = Groups > 1 ? $clog2(Groups) : 1;

  if (Outputs < 8 || Outputs != Inputs << $clog2(Outputs / Inputs)) begin : gen_check
    $fatal(1, "Outputs (%0d) must be Inputs (%0d) * 2^n, at least 8.", Outputs, Inputs);
  end

  logic run_rst_n, failed;
  assign run_rst_n = rst_ni && !abort_i && !failed;

  // The next instruction and its weights, biases and scales.
  plan_t next;
  pixel_t pixel;
  logic next_ready, next_illegal, available, take_run, full, load_en, load_pair;
  logic [$clog2(Outputs)-1:0] load_output;
  logic [2*Inputs*8-1:0] load_weights;
  logic bias_ready, bias_taken;
  logic [Outputs*32-1:0] bias;
  logic [1:0] next_set, tail_set, drain_set;
  logic [3:0] scale_ready;
  logic [GroupBits-1:0] scale_group;
  logic [RequantizeLanes*32-1:0] scales;
  logic weights_range, bias_range, scale_range;
  logic [IdBits-1:0] weights_id, bias_id, scale_id;
  assign ready_o = next_ready && run_rst_n;

  conv_operands #(
      .Inputs(Inputs),
      .Outputs(Outputs),
      .RequantizeLanes(RequantizeLanes),
      .Accumulators(Accumulators)
  ) i_operands (
      .clk_i,
      .rst_ni(run_rst_n),
      .start_i,
      .instr_i,
      .ready_o(next_ready),
      .plan_o(next),
      .available_o(available),
      .take_i(take_run),
      .set_o(next_set),
      .weights_full_o(full),
      .swap_i(pixel.swap),
      .load_en_o(load_en),
      .load_output_o(load_output),
      .load_weights_o(load_weights),
      .load_pair_o(load_pair),
      .bias_ready_o(bias_ready),
      .bias_claim_i(pixel.take_bias),
      .bias_free_i(bias_taken),
      .bias_o(bias),
      .scale_ready_o(scale_ready),
      .scale_set_i(drain_set),
      .scale_group_i(scale_group),
      .scales_o(scales),
      .wm_en_o,
      .wm_addr_o,
      .wm_need_o,
      .wm_data_i,
      .wm_range_i,
      .bias_en_o,
      .bias_addr_o,
      .bias_i,
      .range_bias_i,
      .scale_en_o,
      .scale_addr_o,
      .scale_i,
      .range_scale_i,
      .illegal_o(next_illegal),
      .weights_range_o(weights_range),
      .weights_id_o(weights_id),
      .bias_range_o(bias_range),
      .bias_id_o(bias_id),
      .scale_range_o(scale_range),
      .scale_id_o(scale_id)
  );

  // Passes.
  plan_t tail, drain;
  logic feature_range, drain_reading, tail_ready, tail_take, passes_idle;
  logic [IdBits-1:0] feature_id;

  conv_sequencer #(
      .Inputs(Inputs)
  ) i_sequencer (
      .clk_i,
      .rst_ni(run_rst_n),
      .available_i(available),
      .plan_i(next),
      .set_i(next_set),
      .take_o(take_run),
      .weights_full_i(full),
      .bias_ready_i(bias_ready),
      .pixel_o(pixel),
      .fm_en_o,
      .fm_addr_o,
      .fm_need_o,
      .fm_range_i,
      .range_o(feature_range),
      .range_id_o(feature_id),
      .drain_reading_i(drain_reading),
      .drain_i(drain),
      .tail_o(tail),
      .tail_set_o(tail_set),
      .tail_ready_o(tail_ready),
      .tail_take_i(tail_take),
      .idle_o(passes_idle)
  );

  logic d_en, d_low, sums_range;
  logic [11:0] d_addr;
  logic [Outputs*32-1:0] d_data;
  logic [IdBits-1:0] sums_id;

  conv_sums #(
      .Inputs(Inputs),
      .Outputs(Outputs),
      .Accumulators(Accumulators),
      .Packed(Packed),
      .DspOutputs(DspOutputs)
  ) i_sums (
      .clk_i,
      .rst_ni(run_rst_n),
      .pixel_i(pixel),
      .features_i(fm_data_i),
      .load_en_i(load_en),
      .load_output_i(load_output),
      .load_weights_i(load_weights),
      .load_pair_i(load_pair),
      .bias_i(bias),
      .bias_taken_o(bias_taken),
      .mac_active_o,
      .d_en_i(d_en),
      .d_addr_i(d_addr),
      .d_low_i(d_low),
      .d_data_o(d_data),
      .range_o(sums_range),
      .range_id_o(sums_id)
  );

  // Then results, or nothing: `ended` instructions have none, and wait for their turn to be done.
  logic [2:0] ended_q;
  logic drain_busy, drain_done, drain_range, done_ended;
  assign tail_take  = tail_ready && (tail.conv.last ? !drain_busy && ended_q == '0 : ended_q != '1);
  assign done_ended = !drain_busy && ended_q != '0;

  always_ff @(posedge clk_i) begin
    if (!run_rst_n) ended_q <= '0;
    else ended_q <= ended_q + 3'(tail_take && !tail.conv.last) - 3'(done_ended);
  end

  conv_drain #(
      .Inputs(Inputs),
      .Outputs(Outputs),
      .RequantizeLanes(RequantizeLanes)
  ) i_drain (
      .clk_i,
      .rst_ni(run_rst_n),
      .start_i(tail_take && tail.conv.last),
      .plan_i(tail),
      .set_i(tail_set),
      .busy_o(drain_busy),
      .reading_o(drain_reading),
      .plan_o(drain),
      .done_o(drain_done),
      .scale_ready_i(scale_ready),
      .scale_set_o(drain_set),
      .scale_group_o(scale_group),
      .scales_i(scales),
      .d_en_o(d_en),
      .d_addr_o(d_addr),
      .d_low_o(d_low),
      .d_data_i(d_data),
      .drain_en_o,
      .drain_table_o,
      .drain_data_o(drain_o),
      .drain_data_i(drain_i),
      .om_en_o,
      .om_addr_o,
      .om_need_o,
      .om_strobe_o,
      .om_data_o,
      .om_range_i,
      .range_o(drain_range)
  );

  // Done and errors, in program order.
  logic [IdBits-1:0] oldest_q;
  localparam int unsigned Sources = 8;
  localparam logic [Sources-1:0][3:0] Codes = {
    isa_pkg::ErrorOutputRange,
    isa_pkg::ErrorAccumulatorRange,
    isa_pkg::ErrorTableRange,
    isa_pkg::ErrorParameterRange,
    isa_pkg::ErrorParameterRange,
    isa_pkg::ErrorWeightRange,
    isa_pkg::ErrorFeatureRange,
    isa_pkg::ErrorIllegalInstruction
  };

  conv_errors #(
      .Sources(Sources),
      .Codes  (Codes)
  ) i_errors (
      .clk_i,
      .rst_ni(rst_ni && !abort_i),
      .error_i({
        drain_range,
        sums_range,
        range_drain_i,
        scale_range,
        bias_range,
        weights_range,
        feature_range,
        next_illegal
      }),
      .id_i('{next.id, feature_id, weights_id, bias_id, scale_id, drain.id, sums_id, drain.id}),
      .oldest_i(oldest_q),
      .error_o,
      .error_code_o,
      .failed_o(failed)
  );

  always_ff @(posedge clk_i) begin
    if (!run_rst_n) oldest_q <= '0;
    else if (done_o) oldest_q <= oldest_q + 1'b1;
  end

  assign done_o = (drain_done || done_ended) && run_rst_n;
  assign idle_o = next_ready && passes_idle && ended_q == '0 && !drain_busy;

endmodule : dpu_conv
