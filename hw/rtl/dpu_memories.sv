/// The DPU's on-chip memories; wiring only.
///
/// Addresses of feature and output memory count units (Inputs / 2 bytes), those of the others 16 bytes; data comes
/// dpu_pkg::MemoryLatency cycles after en, range one cycle after.
module dpu_memories #(
    parameter int unsigned Inputs = 8,
    parameter int unsigned FeatureBytes = 16384,
    parameter int unsigned WeightBytes = 16384,
    parameter int unsigned ParameterEntries = 64,
    parameter int unsigned TableCount = 8,
    parameter int unsigned OutputBytes = 16384,
    parameter int unsigned RequantizeLanes = 8,
    parameter int unsigned VectorLanes = 8,
    parameter bit UltraRam = 1'b0,
    localparam int unsigned Units = (2 * Inputs + 15) / 16
) (
    input logic clk_i,
    // Feature memory: written by loads (fa), read by compute (fb).
    input logic fa_en,
    input logic [19:0] fa_addr,
    input logic [1:0] fa_need,
    input logic [Inputs-1:0] fa_strobe,
    input logic [Inputs*8-1:0] fa_data,
    output logic fa_range,
    input logic fb_en,
    input logic [19:0] fb_addr,
    input logic [1:0] fb_need,
    output logic [Inputs*8-1:0] fb_data,
    output logic fb_range,
    // Output memory: written and read by compute (oa), read by stores (ob).
    input logic oa_en,
    input logic oa_we,
    input logic [19:0] oa_addr,
    input logic [1:0] oa_need,
    input logic [Inputs-1:0] oa_strobe,
    input logic [Inputs*8-1:0] oa_wdata,
    output logic [Inputs*8-1:0] oa_rdata,
    output logic oa_range,
    input logic ob_en,
    input logic [19:0] ob_addr,
    input logic [1:0] ob_need,
    output logic [Inputs*8-1:0] ob_data,
    output logic ob_range,
    // Weights, parameters and tables: loaded (wa, pa, ta), read by compute.
    input logic wa_en,
    input logic pa_en,
    input logic ta_en,
    input logic [19:0] load_addr,
    input logic [127:0] load_data,
    output logic wa_range,
    output logic pa_range,
    output logic ta_range,
    input logic wb_en,
    input logic [19:0] wb_addr,
    input logic [Units-1:0] wb_need,
    output logic [2*Inputs*8-1:0] wb_data,
    output logic wb_range,
    input logic bias_en,
    input logic [11:0] bias_addr,
    output logic [31:0] bias,
    output logic bias_range,
    input logic scale_en,
    input logic [11:0] scale_addr,
    output logic [31:0] scale,
    output logic scale_range,
    input logic drain_en,
    input logic [3:0] drain_table,
    input logic [RequantizeLanes*8-1:0] drain_index,
    output logic [RequantizeLanes*8-1:0] drain_data,
    output logic drain_range,
    input logic vector_en,
    input logic [3:0] vector_table,
    input logic [Inputs*8-1:0] vector_index,
    output logic [Inputs*8-1:0] vector_data,
    output logic vector_range,
    input logic inner_en,
    input logic [3:0] inner_table,
    input logic [VectorLanes*8-1:0] inner_index,
    output logic [VectorLanes*32-1:0] inner_data,
    output logic inner_range
);

  dpu_banked_memory #(
      .Bytes(FeatureBytes),
      .UnitBytes(Inputs / 2),
      .Units(2),
      .Reads(1'b0),
      .UltraRam(UltraRam)
  ) feature_memory (
      .clk_i,
      .a_en_i(fa_en),
      .a_we_i(1'b1),
      .a_addr_i(fa_addr),
      .a_need_i(fa_need),
      .a_strobe_i(fa_strobe),
      .a_wdata_i(fa_data),
      .a_rdata_o(),
      .a_range_o(fa_range),
      .b_en_i(fb_en),
      .b_addr_i(fb_addr),
      .b_need_i(fb_need),
      .b_rdata_o(fb_data),
      .b_range_o(fb_range)
  );

  dpu_banked_memory #(
      .Bytes(OutputBytes),
      .UnitBytes(Inputs / 2),
      .Units(2),
      .UltraRam(UltraRam)
  ) output_memory (
      .clk_i,
      .a_en_i(oa_en),
      .a_we_i(oa_we),
      .a_addr_i(oa_addr),
      .a_need_i(oa_need),
      .a_strobe_i(oa_strobe),
      .a_wdata_i(oa_wdata),
      .a_rdata_o(oa_rdata),
      .a_range_o(oa_range),
      .b_en_i(ob_en),
      .b_addr_i(ob_addr),
      .b_need_i(ob_need),
      .b_rdata_o(ob_data),
      .b_range_o(ob_range)
  );

  dpu_banked_memory #(
      .Bytes(WeightBytes),
      .UnitBytes(16),
      .Units(Units),
      .Reads(1'b0),
      .WritesOne(1'b1),
      .UltraRam(UltraRam)
  ) weight_memory (
      .clk_i,
      .a_en_i(wa_en),
      .a_we_i(1'b1),
      .a_addr_i(load_addr),
      .a_need_i(Units'(1)),
      .a_strobe_i((Units * 16)'(16'hFFFF)),
      .a_wdata_i((Units * 128)'(load_data)),
      .a_rdata_o(),
      .a_range_o(wa_range),
      .b_en_i(wb_en),
      .b_addr_i(wb_addr),
      .b_need_i(wb_need),
      .b_rdata_o(wb_data),
      .b_range_o(wb_range)
  );

  dpu_parameters #(
      .Entries(ParameterEntries)
  ) parameters (
      .clk_i,
      .we_i(pa_en),
      .waddr_i(load_addr[11:0]),
      .wdata_i(load_data),
      .range_w_o(pa_range),
      .bias_en_i(bias_en),
      .bias_addr_i(bias_addr),
      .bias_o(bias),
      .range_bias_o(bias_range),
      .scale_en_i(scale_en),
      .scale_addr_i(scale_addr),
      .scale_o(scale),
      .range_scale_o(scale_range)
  );

  dpu_tables #(
      .Tables(TableCount),
      .DrainLanes(RequantizeLanes),
      .VectorLanes(Inputs),
      .InnerLanes(VectorLanes)
  ) tables (
      .clk_i,
      .we_i(ta_en),
      .waddr_i(load_addr[11:0]),
      .wdata_i(load_data),
      .range_w_o(ta_range),
      .drain_en_i(drain_en),
      .drain_table_i(drain_table),
      .drain_i(drain_index),
      .drain_o(drain_data),
      .range_drain_o(drain_range),
      .vector_en_i(vector_en),
      .vector_table_i(vector_table),
      .vector_i(vector_index),
      .vector_o(vector_data),
      .range_vector_o(vector_range),
      .inner_en_i(inner_en),
      .inner_table_i(inner_table),
      .inner_i(inner_index),
      .inner_o(inner_data),
      .range_inner_o(inner_range)
  );

endmodule
