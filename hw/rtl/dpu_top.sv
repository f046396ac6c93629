/// The DPU: wiring only.
///
/// AXI4-Lite registers, four AXI4 masters (program, features and weights read, store writes; 64-bit addresses, BusBytes
/// wide, INCR, no IDs), an interrupt. The parameters are those of build_configs/dpu; ParameterHash is the first 32 bits of
/// their SHA-256. Packed: two INT8 products a DSP for DspOutputs of the Outputs, the rest in lookup tables.
module dpu_top
  import isa_pkg::*;
#(
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
    parameter int unsigned QueueDepth = 8,
    parameter bit UltraRam = 1'b0,
    parameter logic [31:0] ParameterHash = '0,
    parameter bit Packed = 1'b0,
    parameter int unsigned DspOutputs = Outputs
) (
    input  logic                  ap_clk,
    input  logic                  ap_rst_n,
    input  logic [           7:0] s_axi_control_awaddr,
    input  logic                  s_axi_control_awvalid,
    output logic                  s_axi_control_awready,
    input  logic [          31:0] s_axi_control_wdata,
    input  logic [           3:0] s_axi_control_wstrb,
    input  logic                  s_axi_control_wvalid,
    output logic                  s_axi_control_wready,
    output logic [           1:0] s_axi_control_bresp,
    output logic                  s_axi_control_bvalid,
    input  logic                  s_axi_control_bready,
    input  logic [           7:0] s_axi_control_araddr,
    input  logic                  s_axi_control_arvalid,
    output logic                  s_axi_control_arready,
    output logic [          31:0] s_axi_control_rdata,
    output logic [           1:0] s_axi_control_rresp,
    output logic                  s_axi_control_rvalid,
    input  logic                  s_axi_control_rready,
    output logic                  interrupt,
    output logic [          63:0] m_axi_features_araddr,
    output logic [           7:0] m_axi_features_arlen,
    output logic [           2:0] m_axi_features_arsize,
    output logic [           1:0] m_axi_features_arburst,
    output logic                  m_axi_features_arvalid,
    input  logic                  m_axi_features_arready,
    input  logic [BusBytes*8-1:0] m_axi_features_rdata,
    input  logic [           1:0] m_axi_features_rresp,
    input  logic                  m_axi_features_rlast,
    input  logic                  m_axi_features_rvalid,
    output logic                  m_axi_features_rready,
    output logic [          63:0] m_axi_weights_araddr,
    output logic [           7:0] m_axi_weights_arlen,
    output logic [           2:0] m_axi_weights_arsize,
    output logic [           1:0] m_axi_weights_arburst,
    output logic                  m_axi_weights_arvalid,
    input  logic                  m_axi_weights_arready,
    input  logic [BusBytes*8-1:0] m_axi_weights_rdata,
    input  logic [           1:0] m_axi_weights_rresp,
    input  logic                  m_axi_weights_rlast,
    input  logic                  m_axi_weights_rvalid,
    output logic                  m_axi_weights_rready,
    output logic [          63:0] m_axi_program_araddr,
    output logic [           7:0] m_axi_program_arlen,
    output logic [           2:0] m_axi_program_arsize,
    output logic [           1:0] m_axi_program_arburst,
    output logic                  m_axi_program_arvalid,
    input  logic                  m_axi_program_arready,
    input  logic [BusBytes*8-1:0] m_axi_program_rdata,
    input  logic [           1:0] m_axi_program_rresp,
    input  logic                  m_axi_program_rlast,
    input  logic                  m_axi_program_rvalid,
    output logic                  m_axi_program_rready,
    output logic [          63:0] m_axi_store_awaddr,
    output logic [           7:0] m_axi_store_awlen,
    output logic [           2:0] m_axi_store_awsize,
    output logic [           1:0] m_axi_store_awburst,
    output logic                  m_axi_store_awvalid,
    input  logic                  m_axi_store_awready,
    output logic [BusBytes*8-1:0] m_axi_store_wdata,
    output logic [  BusBytes-1:0] m_axi_store_wstrb,
    output logic                  m_axi_store_wlast,
    output logic                  m_axi_store_wvalid,
    input  logic                  m_axi_store_wready,
    input  logic [           1:0] m_axi_store_bresp,
    input  logic                  m_axi_store_bvalid,
    output logic                  m_axi_store_bready
);

  logic [63:0] base;
  logic [31:0] size;
  logic run, abort, engines_idle, masters_idle, mac_active;

  // Engines: feature_load, weight_load, compute, store.
  logic [3:0] engine_start, engine_ready, engine_done, engine_error;
  logic [InstructionBits-1:0] engine_instr[4];
  error_e engine_code[4];

  // Clients of the masters, named as there.
  logic fr_request, fr_request_ready, fr_valid, fr_ready, fr_last, fr_range, fr_axi;
  logic [31:0] fr_offset;
  logic [23:0] fr_bytes;
  logic [BusBytes*8-1:0] fr_data;
  logic wr_request, wr_request_ready, wr_valid, wr_ready, wr_last, wr_range, wr_axi;
  logic [31:0] wr_offset;
  logic [23:0] wr_bytes;
  logic [BusBytes*8-1:0] wr_data;
  logic pr_request, pr_request_ready, pr_valid, pr_ready, pr_axi;
  logic [31:0] pr_offset;
  logic [23:0] pr_bytes;
  logic [BusBytes*8-1:0] pr_data;
  logic sw_request, sw_request_ready, sw_valid, sw_ready, sw_done, sw_range, sw_axi;
  logic [31:0] sw_offset;
  logic [23:0] sw_bytes;
  logic [BusBytes*8-1:0] sw_data;

  dpu_front #(
      .BusBytes(BusBytes),
      .QueueDepth(QueueDepth),
      .ParameterHash(ParameterHash)
  ) front (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .s_axi_awaddr(s_axi_control_awaddr),
      .s_axi_awvalid(s_axi_control_awvalid),
      .s_axi_awready(s_axi_control_awready),
      .s_axi_wdata(s_axi_control_wdata),
      .s_axi_wstrb(s_axi_control_wstrb),
      .s_axi_wvalid(s_axi_control_wvalid),
      .s_axi_wready(s_axi_control_wready),
      .s_axi_bresp(s_axi_control_bresp),
      .s_axi_bvalid(s_axi_control_bvalid),
      .s_axi_bready(s_axi_control_bready),
      .s_axi_araddr(s_axi_control_araddr),
      .s_axi_arvalid(s_axi_control_arvalid),
      .s_axi_arready(s_axi_control_arready),
      .s_axi_rdata(s_axi_control_rdata),
      .s_axi_rresp(s_axi_control_rresp),
      .s_axi_rvalid(s_axi_control_rvalid),
      .s_axi_rready(s_axi_control_rready),
      .interrupt_o(interrupt),
      .base_o(base),
      .size_o(size),
      .run_o(run),
      .abort_o(abort),
      .idle_i(engines_idle && masters_idle),
      .pr_request,
      .pr_request_ready,
      .pr_offset,
      .pr_bytes,
      .pr_valid,
      .pr_ready,
      .pr_data,
      .pr_axi,
      .start_o(engine_start),
      .instr_o(engine_instr),
      .ready_i(engine_ready),
      .done_i(engine_done),
      .error_i(engine_error),
      .error_code_i(engine_code),
      .mac_active_i(mac_active)
  );

  dpu_engines #(
      .Inputs(Inputs),
      .Outputs(Outputs),
      .FeatureBytes(FeatureBytes),
      .WeightBytes(WeightBytes),
      .ParameterEntries(ParameterEntries),
      .TableCount(TableCount),
      .Accumulators(Accumulators),
      .OutputBytes(OutputBytes),
      .RequantizeLanes(RequantizeLanes),
      .VectorLanes(VectorLanes),
      .BusBytes(BusBytes),
      .Packed(Packed),
      .DspOutputs(DspOutputs),
      .UltraRam(UltraRam)
  ) engines (
      .clk_i(ap_clk),
      .rst_ni(ap_rst_n),
      .start_i(engine_start),
      .instr_i(engine_instr),
      .ready_o(engine_ready),
      .done_o(engine_done),
      .error_o(engine_error),
      .error_code_o(engine_code),
      .abort_i(abort),
      .idle_o(engines_idle),
      .mac_active_o(mac_active),
      .fr_request,
      .fr_request_ready,
      .fr_offset,
      .fr_bytes,
      .fr_valid,
      .fr_ready,
      .fr_data,
      .fr_last,
      .fr_range,
      .fr_axi,
      .wr_request,
      .wr_request_ready,
      .wr_offset,
      .wr_bytes,
      .wr_valid,
      .wr_ready,
      .wr_data,
      .wr_last,
      .wr_range,
      .wr_axi,
      .sw_request,
      .sw_request_ready,
      .sw_offset,
      .sw_bytes,
      .sw_valid,
      .sw_ready,
      .sw_data,
      .sw_done,
      .sw_range,
      .sw_axi
  );

  // The pins and the clients by their names.
  dpu_masters #(
      .BusBytes(BusBytes)
  ) masters (
      .clk_i  (ap_clk),
      .rst_ni (ap_rst_n),
      .base_i (base),
      .size_i (size),
      .run_i  (run),
      .abort_i(abort),
      .idle_o (masters_idle),
      .*
  );

endmodule
