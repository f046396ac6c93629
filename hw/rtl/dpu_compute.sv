/// The compute engine: CONV in dpu_conv, POOL, ADD and MULTIPLY in dpu_vector, which share memory ports.
///
/// Several CONV may be in flight in dpu_conv. dpu_vector takes one instruction, which begins when every CONV
/// before it is done and has the ports for itself; the next one is taken when it is done. So done_o and
/// error_o come in order. abort_i makes the engine as after reset.
module dpu_compute #(
    parameter  int unsigned Inputs          = 8,
    parameter  int unsigned Outputs         = 16,
    parameter  int unsigned RequantizeLanes = 8,
    /// Elements of ADD and MULTIPLY a cycle.
    parameter  int unsigned VectorLanes     = 8,
    parameter  int unsigned Accumulators    = 256,
    /// Two products a DSP, for DspOutputs of the Outputs.
    parameter  bit          Packed          = 1'b0,
    parameter  int unsigned DspOutputs      = Outputs,
    localparam int unsigned WeightUnits     = (Inputs + 7) / 8
) (
    input  logic                                     clk_i,
    input  logic                                     rst_ni,
    input  logic                                     start_i,
    input  logic            [                 255:0] instr_i,
    output logic                                     ready_o,
    output logic                                     done_o,
    output logic                                     error_o,
    output isa_pkg::error_e                          error_code_o,
    input  logic                                     abort_i,
    output logic                                     idle_o,
    output logic                                     mac_active_o,
    // Feature memory, port B.
    output logic                                     fm_en_o,
    output logic            [                  19:0] fm_addr_o,
    output logic            [                   1:0] fm_need_o,
    input  logic            [          Inputs*8-1:0] fm_data_i,
    input  logic                                     fm_range_i,
    // Weight memory, port B.
    output logic                                     wm_en_o,
    output logic            [                  19:0] wm_addr_o,
    output logic            [       WeightUnits-1:0] wm_need_o,
    input  logic            [        2*Inputs*8-1:0] wm_data_i,
    input  logic                                     wm_range_i,
    // Parameter memory.
    output logic                                     bias_en_o,
    output logic            [                  11:0] bias_addr_o,
    input  logic            [                  31:0] bias_i,
    input  logic                                     range_bias_i,
    output logic                                     scale_en_o,
    output logic            [                  11:0] scale_addr_o,
    input  logic            [                  31:0] scale_i,
    input  logic                                     range_scale_i,
    // Tables: values to them (_o), results from them (_i).
    output logic                                     drain_en_o,
    output logic            [                   3:0] drain_table_o,
    output logic            [ RequantizeLanes*8-1:0] drain_o,
    input  logic            [ RequantizeLanes*8-1:0] drain_i,
    input  logic                                     range_drain_i,
    output logic                                     vector_en_o,
    output logic            [                   3:0] vector_table_o,
    output logic            [          Inputs*8-1:0] vector_o,
    input  logic            [          Inputs*8-1:0] vector_i,
    input  logic                                     range_vector_i,
    output logic                                     inner_en_o,
    output logic            [                   3:0] inner_table_o,
    output logic            [     VectorLanes*8-1:0] inner_o,
    input  logic            [    VectorLanes*32-1:0] inner_i,
    input  logic                                     range_inner_i,
    // Output memory, port A.
    output logic                                     om_en_o,
    output logic                                     om_we_o,
    output logic            [                  19:0] om_addr_o,
    output logic            [                   1:0] om_need_o,
    output logic            [            Inputs-1:0] om_strobe_o,
    output logic            [          Inputs*8-1:0] om_wdata_o,
    input  logic            [          Inputs*8-1:0] om_rdata_i,
    input  logic                                     om_range_i
);

  localparam int unsigned CountBits = 4;  // dpu_conv holds fewer instructions than that

  /// What an engine asks of the feature memory.
  typedef struct packed {
    logic en;
    logic [19:0] addr;
    logic [1:0] need;
  } feature_request_t;

  /// What an engine asks of the output memory.
  typedef struct packed {
    logic en;
    logic we;
    logic [19:0] addr;
    logic [1:0] need;
    logic [Inputs-1:0] strobe;
    logic [Inputs*8-1:0] wdata;
  } output_request_t;

  feature_request_t conv_fm, vector_fm;
  output_request_t conv_om, vector_om;
  isa_pkg::error_e conv_code, vector_code;
  logic is_conv, conv_ready, conv_done, conv_error, conv_idle;
  logic vector_ready, vector_done, vector_error, vector_idle;
  logic [CountBits-1:0] convs_q;  // not yet done
  logic vector_owns;

  assign is_conv = instr_i[3:0] == isa_pkg::OpConv;
  assign vector_owns = convs_q == 0;
  assign ready_o = conv_ready && vector_ready;
  assign done_o = conv_done || vector_done;
  assign error_o = conv_error || vector_error;
  assign error_code_o = conv_error ? conv_code : vector_code;
  assign idle_o = conv_idle && vector_idle;

  assign {fm_en_o, fm_addr_o, fm_need_o} = vector_owns ? vector_fm : conv_fm;
  assign {om_en_o, om_we_o, om_addr_o, om_need_o, om_strobe_o, om_wdata_o} =
      vector_owns ? vector_om : conv_om;
  assign conv_om.we = 1'b1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || abort_i) convs_q <= '0;
    else convs_q <= convs_q + CountBits'(start_i && is_conv) - CountBits'(conv_done);
  end

  dpu_conv #(
      .Inputs         (Inputs),
      .Outputs        (Outputs),
      .RequantizeLanes(RequantizeLanes),
      .Accumulators   (Accumulators),
      .Packed         (Packed),
      .DspOutputs     (DspOutputs)
  ) u_conv (
      .clk_i,
      .rst_ni,
      .start_i     (start_i && is_conv),
      .instr_i,
      .ready_o     (conv_ready),
      .done_o      (conv_done),
      .error_o     (conv_error),
      .error_code_o(conv_code),
      .abort_i,
      .idle_o      (conv_idle),
      .mac_active_o,
      .fm_en_o     (conv_fm.en),
      .fm_addr_o   (conv_fm.addr),
      .fm_need_o   (conv_fm.need),
      .fm_data_i,
      .fm_range_i  (fm_range_i && !vector_owns),
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
      .drain_en_o,
      .drain_table_o,
      .drain_o,
      .drain_i,
      .range_drain_i,
      .om_en_o     (conv_om.en),
      .om_addr_o   (conv_om.addr),
      .om_need_o   (conv_om.need),
      .om_strobe_o (conv_om.strobe),
      .om_data_o   (conv_om.wdata),
      .om_range_i  (om_range_i && !vector_owns)
  );

  dpu_vector #(
      .Inputs(Inputs),
      .Lanes (VectorLanes)
  ) u_vector (
      .clk_i,
      .rst_ni,
      .start_i     (start_i && !is_conv),
      .instr_i,
      .ready_o     (vector_ready),
      .done_o      (vector_done),
      .error_o     (vector_error),
      .error_code_o(vector_code),
      .abort_i,
      .idle_o      (vector_idle),
      .go_i        (vector_owns),
      .fm_en_o     (vector_fm.en),
      .fm_addr_o   (vector_fm.addr),
      .fm_need_o   (vector_fm.need),
      .fm_data_i,
      .fm_range_i,
      .om_en_o     (vector_om.en),
      .om_we_o     (vector_om.we),
      .om_addr_o   (vector_om.addr),
      .om_need_o   (vector_om.need),
      .om_strobe_o (vector_om.strobe),
      .om_wdata_o  (vector_om.wdata),
      .om_rdata_i,
      .om_range_i,
      .vector_en_o,
      .vector_table_o,
      .vector_o,
      .vector_i,
      .range_vector_i,
      .inner_en_o,
      .inner_table_o,
      .inner_o,
      .inner_i,
      .range_inner_i
  );

endmodule
