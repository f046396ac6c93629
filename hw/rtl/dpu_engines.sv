/// The DPU's four engines and the on-chip memories between them; wiring only.
///
/// Engine 0 loads features, 1 loads weights, 2 computes, 3 stores: index of start_i .. error_code_o. The clients' requests
/// and data (fr, wr, sw) go to dpu_masters. idle_o: nothing is in flight in any engine.
module dpu_engines #(
    parameter int unsigned Inputs = 8,
    parameter int unsigned Outputs = 16,
    parameter int unsigned FeatureBytes = 16384,
    parameter int unsigned WeightBytes = 16384,
    parameter int unsigned ParameterEntries = 64,
    parameter int unsigned TableCount = 8,
    parameter int unsigned Accumulators = 256,
    parameter int unsigned OutputBytes = 16384,
    parameter int unsigned RequantizeLanes = 8,
    parameter int unsigned VectorLanes = 8,
    parameter int unsigned BusBytes = 8,
    parameter bit Packed = 1'b0,
    parameter int unsigned DspOutputs = Outputs,
    parameter bit UltraRam = 1'b0,
    localparam int unsigned Units = (2 * Inputs + 15) / 16
) (
    input logic clk_i,
    input logic rst_ni,
    // From and to dpu_front: feature_load, weight_load, compute, store.
    input logic [3:0] start_i,
    input logic [isa_pkg::InstructionBits-1:0] instr_i[4],
    output logic [3:0] ready_o,
    output logic [3:0] done_o,
    output logic [3:0] error_o,
    output isa_pkg::error_e error_code_o[4],
    input logic abort_i,
    output logic idle_o,
    output logic mac_active_o,
    // Features.
    output logic fr_request,
    input logic fr_request_ready,
    output logic [31:0] fr_offset,
    output logic [23:0] fr_bytes,
    input logic fr_valid,
    output logic fr_ready,
    input logic [BusBytes*8-1:0] fr_data,
    input logic fr_last,
    input logic fr_range,
    input logic fr_axi,
    // Weights.
    output logic wr_request,
    input logic wr_request_ready,
    output logic [31:0] wr_offset,
    output logic [23:0] wr_bytes,
    input logic wr_valid,
    output logic wr_ready,
    input logic [BusBytes*8-1:0] wr_data,
    input logic wr_last,
    input logic wr_range,
    input logic wr_axi,
    // Stores.
    output logic sw_request,
    input logic sw_request_ready,
    output logic [31:0] sw_offset,
    output logic [23:0] sw_bytes,
    output logic sw_valid,
    input logic sw_ready,
    output logic [BusBytes*8-1:0] sw_data,
    input logic sw_done,
    input logic sw_range,
    input logic sw_axi
);

  logic [3:0] idle;
  assign idle_o = idle == '1;

  // Between engines and memories, named as in dpu_memories.
  logic fa_en, fa_range, fb_en, fb_range, oa_en, oa_we, oa_range, ob_en, ob_range;
  logic [19:0] fa_addr, fb_addr, oa_addr, ob_addr, load_addr, wb_addr;
  logic [1:0] fa_need, fb_need, oa_need, ob_need;
  logic [Inputs-1:0] fa_strobe, oa_strobe;
  logic [Inputs*8-1:0] fa_data, fb_data, oa_wdata, oa_rdata, ob_data;
  logic wa_en, wa_range, wb_en, wb_range, pa_en, pa_range, ta_en, ta_range;
  logic [127:0] load_data;
  logic [Units-1:0] wb_need;
  logic [2*Inputs*8-1:0] wb_data;
  logic bias_en, bias_range, scale_en, scale_range;
  logic [11:0] bias_addr, scale_addr;
  logic [31:0] bias, scale;
  logic drain_en, drain_range, vector_en, vector_range, inner_en, inner_range;
  logic [3:0] drain_table, vector_table, inner_table;
  logic [RequantizeLanes*8-1:0] drain_index, drain_data;
  logic [VectorLanes*8-1:0] inner_index;
  logic [Inputs*8-1:0] vector_index, vector_data;
  logic [VectorLanes*32-1:0] inner_data;

  dpu_load_features #(
      .Inputs  (Inputs),
      .BusBytes(BusBytes)
  ) load_features (
      .clk_i,
      .rst_ni,
      .start_i(start_i[0]),
      .instr_i(instr_i[0]),
      .ready_o(ready_o[0]),
      .done_o(done_o[0]),
      .error_o(error_o[0]),
      .error_code_o(error_code_o[0]),
      .abort_i,
      .idle_o(idle[0]),
      .request_valid_o(fr_request),
      .request_ready_i(fr_request_ready),
      .request_offset_o(fr_offset),
      .request_bytes_o(fr_bytes),
      .data_valid_i(fr_valid),
      .data_ready_o(fr_ready),
      .data_i(fr_data),
      .data_last_i(fr_last),
      .range_error_i(fr_range),
      .axi_error_i(fr_axi),
      .fm_en_o(fa_en),
      .fm_addr_o(fa_addr),
      .fm_need_o(fa_need),
      .fm_strobe_o(fa_strobe),
      .fm_data_o(fa_data),
      .fm_range_i(fa_range)
  );

  dpu_load_weights #(
      .BusBytes(BusBytes)
  ) load_weights (
      .clk_i,
      .rst_ni,
      .start_i(start_i[1]),
      .instr_i(instr_i[1]),
      .ready_o(ready_o[1]),
      .done_o(done_o[1]),
      .error_o(error_o[1]),
      .error_code_o(error_code_o[1]),
      .abort_i,
      .idle_o(idle[1]),
      .request_valid_o(wr_request),
      .request_ready_i(wr_request_ready),
      .request_offset_o(wr_offset),
      .request_bytes_o(wr_bytes),
      .data_valid_i(wr_valid),
      .data_ready_o(wr_ready),
      .data_i(wr_data),
      .data_last_i(wr_last),
      .range_error_i(wr_range),
      .axi_error_i(wr_axi),
      .wm_en_o(wa_en),
      .pm_en_o(pa_en),
      .tm_en_o(ta_en),
      .addr_o(load_addr),
      .data_o(load_data),
      .wm_range_i(wa_range),
      .pm_range_i(pa_range),
      .tm_range_i(ta_range)
  );

  dpu_compute #(
      .Inputs(Inputs),
      .Outputs(Outputs),
      .RequantizeLanes(RequantizeLanes),
      .VectorLanes(VectorLanes),
      .Accumulators(Accumulators),
      .Packed(Packed),
      .DspOutputs(DspOutputs)
  ) compute (
      .clk_i,
      .rst_ni,
      .start_i(start_i[2]),
      .instr_i(instr_i[2]),
      .ready_o(ready_o[2]),
      .done_o(done_o[2]),
      .error_o(error_o[2]),
      .error_code_o(error_code_o[2]),
      .abort_i,
      .idle_o(idle[2]),
      .mac_active_o,
      .fm_en_o(fb_en),
      .fm_addr_o(fb_addr),
      .fm_need_o(fb_need),
      .fm_data_i(fb_data),
      .fm_range_i(fb_range),
      .wm_en_o(wb_en),
      .wm_addr_o(wb_addr),
      .wm_need_o(wb_need),
      .wm_data_i(wb_data),
      .wm_range_i(wb_range),
      .bias_en_o(bias_en),
      .bias_addr_o(bias_addr),
      .bias_i(bias),
      .range_bias_i(bias_range),
      .scale_en_o(scale_en),
      .scale_addr_o(scale_addr),
      .scale_i(scale),
      .range_scale_i(scale_range),
      .drain_en_o(drain_en),
      .drain_table_o(drain_table),
      .drain_o(drain_index),
      .drain_i(drain_data),
      .range_drain_i(drain_range),
      .vector_en_o(vector_en),
      .vector_table_o(vector_table),
      .vector_o(vector_index),
      .vector_i(vector_data),
      .range_vector_i(vector_range),
      .inner_en_o(inner_en),
      .inner_table_o(inner_table),
      .inner_o(inner_index),
      .inner_i(inner_data),
      .range_inner_i(inner_range),
      .om_en_o(oa_en),
      .om_we_o(oa_we),
      .om_addr_o(oa_addr),
      .om_need_o(oa_need),
      .om_strobe_o(oa_strobe),
      .om_wdata_o(oa_wdata),
      .om_rdata_i(oa_rdata),
      .om_range_i(oa_range)
  );

  dpu_store #(
      .Inputs  (Inputs),
      .BusBytes(BusBytes)
  ) store (
      .clk_i,
      .rst_ni,
      .start_i(start_i[3]),
      .instr_i(instr_i[3]),
      .ready_o(ready_o[3]),
      .done_o(done_o[3]),
      .error_o(error_o[3]),
      .error_code_o(error_code_o[3]),
      .abort_i,
      .idle_o(idle[3]),
      .om_en_o(ob_en),
      .om_addr_o(ob_addr),
      .om_need_o(ob_need),
      .om_data_i(ob_data),
      .om_range_i(ob_range),
      .request_valid_o(sw_request),
      .request_ready_i(sw_request_ready),
      .request_offset_o(sw_offset),
      .request_bytes_o(sw_bytes),
      .data_valid_o(sw_valid),
      .data_ready_i(sw_ready),
      .data_o(sw_data),
      .done_i(sw_done),
      .range_error_i(sw_range),
      .axi_error_i(sw_axi)
  );

  dpu_memories #(
      .Inputs(Inputs),
      .FeatureBytes(FeatureBytes),
      .WeightBytes(WeightBytes),
      .ParameterEntries(ParameterEntries),
      .TableCount(TableCount),
      .OutputBytes(OutputBytes),
      .RequantizeLanes(RequantizeLanes),
      .VectorLanes(VectorLanes),
      .UltraRam(UltraRam)
  ) memories (
      .*
  );

endmodule
