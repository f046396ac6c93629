/// dpu_conv with its memories, for tests: they and a list of instructions are written over one port, then the
/// instructions start as fast as the engine takes them, but never while hold_i is up.
module conv_bench #(
    parameter int unsigned Inputs = 8,
    parameter int unsigned Outputs = 16,
    parameter int unsigned RequantizeLanes = 8,
    parameter int unsigned Accumulators = 256,
    parameter int unsigned FeatureBytes = 16384,
    parameter int unsigned WeightBytes = 16384,
    parameter int unsigned OutputBytes = 16384,
    parameter int unsigned ParameterEntries = 64,
    parameter int unsigned TableCount = 8,
    parameter bit Packed = 1'b0,
    parameter int unsigned DspOutputs = Outputs,
    parameter int unsigned Instructions = 1024,
    localparam int unsigned Units = (Inputs + 7) / 8
) (
    input logic clk_i,
    input logic rst_ni,
    // Writes: 0 features, 1 weights, 2 parameters, 3 tables, 4 outputs, 5 instructions.
    input logic write_i,
    input logic [2:0] memory_i,
    input logic [19:0] addr_i,
    input logic [255:0] data_i,
    input logic read_i,
    output logic [Inputs*8-1:0] read_o,
    input logic [15:0] count_i,
    input logic hold_i,
    input logic abort_i,
    output logic start_o,
    output logic done_o,
    output logic error_o,
    output logic [3:0] error_code_o,
    output logic idle_o,
    output logic mac_active_o
);

  logic [255:0] instructions[Instructions];
  logic [15:0] next_q;
  logic ready;

  assign start_o = ready && !hold_i && next_q < count_i;
  always_ff @(posedge clk_i) begin
    if (write_i && memory_i == 3'd5) instructions[addr_i[$clog2(Instructions)-1:0]] <= data_i;
    if (!rst_ni || count_i == '0) next_q <= '0;
    else if (start_o) next_q <= next_q + 1'b1;
  end

  logic
      fm_en, fm_range, wm_en, wm_range, om_en, om_range, bias_en, range_bias, scale_en, range_scale;
  logic [19:0] fm_addr, wm_addr, om_addr;
  logic [1:0] fm_need, om_need;
  logic [Units-1:0] wm_need;
  logic [Inputs*8-1:0] fm_data, om_data;
  logic [Inputs*16-1:0] wm_data;
  logic [Inputs-1:0] om_strobe;
  logic [11:0] bias_addr, scale_addr;
  logic [31:0] bias, scale;
  logic drain_en, range_drain;
  logic [3:0] drain_table;
  logic [RequantizeLanes*8-1:0] to_tables, from_tables;

  dpu_conv #(
      .Inputs(Inputs),
      .Outputs(Outputs),
      .RequantizeLanes(RequantizeLanes),
      .Accumulators(Accumulators),
      .Packed(Packed),
      .DspOutputs(DspOutputs)
  ) i_conv (
      .clk_i,
      .rst_ni,
      .start_i(start_o),
      .instr_i(instructions[next_q[$clog2(Instructions)-1:0]]),
      .ready_o(ready),
      .done_o,
      .error_o,
      .error_code_o,
      .abort_i,
      .idle_o,
      .mac_active_o,
      .fm_en_o(fm_en),
      .fm_addr_o(fm_addr),
      .fm_need_o(fm_need),
      .fm_data_i(fm_data),
      .fm_range_i(fm_range),
      .wm_en_o(wm_en),
      .wm_addr_o(wm_addr),
      .wm_need_o(wm_need),
      .wm_data_i(wm_data),
      .wm_range_i(wm_range),
      .bias_en_o(bias_en),
      .bias_addr_o(bias_addr),
      .bias_i(bias),
      .range_bias_i(range_bias),
      .scale_en_o(scale_en),
      .scale_addr_o(scale_addr),
      .scale_i(scale),
      .range_scale_i(range_scale),
      .drain_en_o(drain_en),
      .drain_table_o(drain_table),
      .drain_o(to_tables),
      .drain_i(from_tables),
      .range_drain_i(range_drain),
      .om_en_o(om_en),
      .om_addr_o(om_addr),
      .om_need_o(om_need),
      .om_strobe_o(om_strobe),
      .om_data_o(om_data),
      .om_range_i(om_range)
  );

  dpu_banked_memory #(
      .Bytes(FeatureBytes),
      .UnitBytes(Inputs / 2),
      .Units(2)
  ) i_features (
      .clk_i,
      .a_en_i(write_i && memory_i == 3'd0),
      .a_we_i(1'b1),
      .a_addr_i(addr_i),
      .a_need_i('1),
      .a_strobe_i('1),
      .a_wdata_i(data_i[Inputs*8-1:0]),
      .a_rdata_o(),
      .a_range_o(),
      .b_en_i(fm_en),
      .b_addr_i(fm_addr),
      .b_need_i(fm_need),
      .b_rdata_o(fm_data),
      .b_range_o(fm_range)
  );

  dpu_banked_memory #(
      .Bytes(WeightBytes),
      .UnitBytes(16),
      .Units(Units)
  ) i_weights (
      .clk_i,
      .a_en_i(write_i && memory_i == 3'd1),
      .a_we_i(1'b1),
      .a_addr_i(addr_i),
      .a_need_i(Units'(1)),
      .a_strobe_i((16 * Units)'(16'hFFFF)),
      .a_wdata_i((128 * Units)'(data_i[127:0])),
      .a_rdata_o(),
      .a_range_o(),
      .b_en_i(wm_en),
      .b_addr_i(wm_addr),
      .b_need_i(wm_need),
      .b_rdata_o(wm_data),
      .b_range_o(wm_range)
  );

  dpu_parameters #(
      .Entries(ParameterEntries)
  ) i_parameters (
      .clk_i,
      .we_i(write_i && memory_i == 3'd2),
      .waddr_i(addr_i[11:0]),
      .wdata_i(data_i[127:0]),
      .range_w_o(),
      .bias_en_i(bias_en),
      .bias_addr_i(bias_addr),
      .bias_o(bias),
      .range_bias_o(range_bias),
      .scale_en_i(scale_en),
      .scale_addr_i(scale_addr),
      .scale_o(scale),
      .range_scale_o(range_scale)
  );

  dpu_tables #(
      .Tables(TableCount),
      .DrainLanes(RequantizeLanes),
      .VectorLanes(Inputs)
  ) i_tables (
      .clk_i,
      .we_i(write_i && memory_i == 3'd3),
      .waddr_i(addr_i[11:0]),
      .wdata_i(data_i[127:0]),
      .range_w_o(),
      .vector_en_i(1'b0),
      .vector_table_i('0),
      .vector_i('0),
      .vector_o(),
      .range_vector_o(),
      .inner_en_i(1'b0),
      .inner_table_i('0),
      .inner_i('0),
      .inner_o(),
      .range_inner_o(),
      .drain_en_i(drain_en),
      .drain_table_i(drain_table),
      .drain_i(to_tables),
      .drain_o(from_tables),
      .range_drain_o(range_drain)
  );

  dpu_banked_memory #(
      .Bytes(OutputBytes),
      .UnitBytes(Inputs / 2),
      .Units(2)
  ) i_outputs (
      .clk_i,
      .a_en_i(om_en || (write_i && memory_i == 3'd4)),
      .a_we_i(1'b1),
      .a_addr_i(om_en ? om_addr : addr_i),
      .a_need_i(om_en ? om_need : '1),
      .a_strobe_i(om_en ? om_strobe : '1),
      .a_wdata_i(om_en ? om_data : data_i[Inputs*8-1:0]),
      .a_rdata_o(),
      .a_range_o(om_range),
      .b_en_i(read_i),
      .b_addr_i(addr_i),
      .b_need_i('1),
      .b_rdata_o(read_o),
      .b_range_o()
  );

endmodule : conv_bench
